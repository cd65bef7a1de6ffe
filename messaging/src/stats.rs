//! How a service does, in figures that cost little: what its outbox holds back, and what it has said more than once.
//!
//! Each service answers `admin.<service>.stats`.

use sea_orm::sea_query::{Alias, Condition, Expr, ExprTrait, Func, Order, Query as SqlQuery, WindowStatement};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use serde::{Deserialize, Serialize};

use crate::envelope::unix_millis;
use crate::outbox::entity::{Column, Entity};
use crate::query::{Endpoint, Query, QueryError};
use crate::{clock, outbox_pending};

/// The most recent messages that are looked at for repetitions.
const RECENT: u64 = 10_000;
/// The most repetitions in one answer.
const MAX_REPETITIONS: u64 = 20;
/// The most stems in one request.
const MAX_STEMS: usize = 50;

/// Returns the subject on which a service tells how it does.
#[must_use]
pub fn subject(service: &str) -> String {
    format!("admin.{service}.stats")
}

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Request {
    /// What is said only once about one key, as subjects without the key, such as `order.event.placed`; 50 at most.
    pub once_per_key: Vec<String>,
}

/// How a service does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Which service.
    pub service: String,
    /// How many messages no stream has acknowledged, as far as it is written.
    pub outbox_depth: u64,
    /// For how long the oldest of them has waited, by the service's clock, in milliseconds.
    pub outbox_age_ms: Option<i64>,
    /// How many messages their stream can never take; each is a dead letter.
    #[serde(default)]
    pub outbox_unpublishable: u64,
    /// How many of the most recent messages were looked at for repetitions.
    pub examined: u64,
    /// What was said more than once although it should not, 20 at most.
    pub repeated: Vec<Repeated>,
    /// How many there are of these; 0 from a service of an earlier release.
    #[serde(default)]
    pub repeated_total: u64,
}

/// Something that was said more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeated {
    /// On which subject.
    pub subject: String,
    /// How often.
    pub count: i64,
}

/// Makes the endpoint that tells.
pub(crate) fn endpoint(db: DatabaseConnection, service: &'static str) -> Endpoint {
    Endpoint::new("stats", subject(service), move |query| answer(db.clone(), service, query))
}

async fn answer(db: DatabaseConnection, service: &str, query: Query) -> Result<Stats, QueryError> {
    let request: Request = if query.body.is_empty() {
        Request::default()
    } else {
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?
    };
    if request.once_per_key.len() > MAX_STEMS {
        return Err(QueryError::Invalid(format!("oncePerKey must be {MAX_STEMS} at most")));
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

/// Returns the first subjects that more than one message has, and how many such subjects there are.
async fn repeated(db: &DatabaseConnection, once_per_key: &[String]) -> Result<(Vec<Repeated>, u64), DbErr> {
    let stems = once_per_key
        .iter()
        .fold(Condition::any(), |any, stem| any.add(Expr::col(Column::Subject).like(format!("{stem}.%"))));
    let count = || Func::count(Expr::col(Column::Subject));
    let select = SqlQuery::select()
        .column(Column::Subject)
        .expr_as(count(), Alias::new("said"))
        // Over the groups, before the limit.
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
        .map(|row| Ok(Repeated { subject: row.try_get("", "subject")?, count: row.try_get("", "said")? }))
        .collect::<Result<_, DbErr>>()?;
    Ok((repeated, total.unsigned_abs()))
}
