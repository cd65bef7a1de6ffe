//! Statistics of a service that cost little: its pending outbox messages, and subjects published more than once.
//!
//! Each service serves `admin.<service>.stats`.

use sea_orm::sea_query::{Alias, Condition, Expr, ExprTrait, Func, Order, Query as SqlQuery, WindowStatement};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use serde::{Deserialize, Serialize};

use crate::broker::clock;
use crate::inbound::query::{Endpoint, Query, QueryError};
use crate::outbound::outbox::entity::{Column, Entity};
use crate::outbound::outbox_pending;
use crate::wire::envelope::unix_millis;

/// The number of most recent messages that are examined for repetitions.
const RECENT: u64 = 10_000;
/// The maximum number of repetitions per reply.
const MAX_REPETITIONS: u64 = 20;
/// The maximum number of subjects per request.
const MAX_STEMS: usize = 50;

/// Returns the subject of a service's statistics.
#[must_use]
pub fn subject(service: &str) -> String {
    format!("admin.{service}.stats")
}

/// A request for statistics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Request {
    /// Subjects without the key that must be published at most once per key, such as `order.event.placed`; at most 50.
    pub once_per_key: Vec<String>,
}

/// The statistics of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// The name of the service that reports.
    pub service: String,
    /// The number of messages that no stream has acknowledged, as recorded in the database.
    pub outbox_depth: u64,
    /// The age of the oldest of them, by the service's clock, in milliseconds.
    pub outbox_age_ms: Option<i64>,
    /// The number of messages that their stream can never store; each is a dead letter.
    #[serde(default)]
    pub outbox_unpublishable: u64,
    /// The number of most recent messages that were examined for repetitions.
    pub examined: u64,
    /// Subjects that were published more than once against the request, at most 20.
    pub repeated: Vec<Repeated>,
    /// The total number of such subjects; 0 from a service of an earlier release.
    #[serde(default)]
    pub repeated_total: u64,
}

/// A subject that was published more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeated {
    /// The subject, with its key.
    pub subject: String,
    /// The number of messages.
    pub count: i64,
}

/// Creates the statistics endpoint.
pub(crate) fn endpoint(db: DatabaseConnection, service: &'static str) -> Endpoint {
    Endpoint::new("stats", subject(service), move |query| reply(db.clone(), service, query))
}

async fn reply(db: DatabaseConnection, service: &str, query: Query) -> Result<Stats, QueryError> {
    let request: Request = if query.body.is_empty() {
        Request::default()
    } else {
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?
    };
    if request.once_per_key.len() > MAX_STEMS {
        return Err(QueryError::Invalid(format!("oncePerKey must have at most {MAX_STEMS} entries")));
    }
    let now = unix_millis(clock::now());
    let (repeated, repeated_total) = if request.once_per_key.is_empty() {
        (Vec::new(), 0)
    } else {
        repeated(&db, &request.once_per_key).await?
    };
    Ok(Stats {
        service: service.to_owned(),
        outbox_depth: outbox_pending::depth(&db).await?,
        outbox_age_ms: outbox_pending::oldest(&db).await?.map(|written| Ord::max(now - written, 0)),
        outbox_unpublishable: outbox_pending::unpublishable(&db).await?,
        examined: examined(&db).await?,
        repeated,
        repeated_total,
    })
}

/// The most recent messages, as a subquery of their subjects.
fn recent() -> sea_orm::sea_query::SelectStatement {
    SqlQuery::select()
        .column(Column::Subject)
        .from(Entity)
        .order_by(Column::RowId, Order::Desc)
        .limit(RECENT)
        .to_owned()
}

async fn examined(db: &DatabaseConnection) -> Result<u64, DbErr> {
    let count = SqlQuery::select()
        .expr_as(Func::count(Expr::col(Column::Subject)), Alias::new("examined"))
        .from_subquery(recent(), Alias::new("recent"))
        .to_owned();
    let row = db.query_one(&count).await?;
    let examined: i64 = row.map(|row| row.try_get("", "examined")).transpose()?.unwrap_or_default();
    Ok(examined.unsigned_abs())
}

/// Returns the first subjects with more than one message, and the total number of such subjects.
async fn repeated(db: &DatabaseConnection, once_per_key: &[String]) -> Result<(Vec<Repeated>, u64), DbErr> {
    let stems = once_per_key
        .iter()
        .fold(Condition::any(), |any, stem| any.add(Expr::col(Column::Subject).like(format!("{stem}.%"))));
    let count = || Func::count(Expr::col(Column::Subject));
    let select = SqlQuery::select()
        .column(Column::Subject)
        .expr_as(count(), Alias::new("published"))
        // Computed over the groups, before the limit.
        .expr_window_as(count(), WindowStatement::new(), Alias::new("total"))
        .from_subquery(recent(), Alias::new("recent"))
        .cond_where(stems)
        .group_by_col(Column::Subject)
        .and_having(Expr::expr(count()).gt(1))
        .order_by(Column::Subject, Order::Asc)
        .limit(MAX_REPETITIONS)
        .to_owned();
    let rows = db.query_all(&select).await?;
    let total: i64 = rows.first().map(|row| row.try_get("", "total")).transpose()?.unwrap_or_default();
    let repeated = rows
        .into_iter()
        .map(|row| Ok(Repeated { subject: row.try_get("", "subject")?, count: row.try_get("", "published")? }))
        .collect::<Result<_, DbErr>>()?;
    Ok((repeated, total.unsigned_abs()))
}
