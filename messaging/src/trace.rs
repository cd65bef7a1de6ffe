//! What a service knows of one business id: what it handled and when, what failed or came again, what it has said and
//! not published yet, and, where the service tells, where the matter stands.
//!
//! Each service answers `admin.<service>.trace.<key>`. The inbox knows messages by their ids and not by what they
//! are about, so whoever asks names the ids that it has found in the streams.

use std::collections::HashSet;
use std::sync::Arc;

use sea_orm::{
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::envelope::{self, Header, from_unix_millis, rfc3339};
use crate::handler::Handler;
use crate::health::Health;
use crate::query::{Endpoint, Query, QueryError};
use crate::{delivery_issue, inbox, outbox, outbox_pending, statement};

/// The most ids in one request.
pub const MAX_IDS: usize = 1000;
/// The most delivery issues and pending messages in one answer.
const MAX_ROWS: u64 = 200;

/// Returns the subject on which a service tells what it knows of a key.
#[must_use]
pub fn subject(service: &str, key: &str) -> String {
    format!("admin.{service}.trace.{key}")
}

/// Which messages are asked about.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Their ids, [`MAX_IDS`] at most.
    pub message_ids: Vec<Uuid>,
}

/// What a service knows of a key. Times are RFC 3339, by the service's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// Which service.
    pub service: String,
    /// Those of the messages asked about that it has handled, or dead-lettered.
    pub handled: Vec<Handled>,
    /// Messages about the key that did not simply go well.
    pub delivery_issues: Vec<DeliveryIssue>,
    /// What it has said about the key and no stream has yet.
    pub outbox_pending: Vec<PendingMessage>,
    /// Where the matter stands, where the service tells.
    pub status: Option<AggregateStatus>,
    /// The parts of this instance that readiness reports as failing, each as `part: reason`.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// When a message was handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handled {
    /// Its id.
    pub message_id: Uuid,
    /// When.
    pub at: String,
}

/// What happened to one message beside its being handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryIssue {
    /// Its id, or one made of its place where it has none that can be believed.
    pub message_id: Uuid,
    /// The subject it came on.
    pub subject: String,
    /// The stream it came from.
    pub stream: String,
    /// Its sequence there, at its last delivery of those told of here.
    pub sequence: i64,
    /// How often it failed.
    pub failures: i64,
    /// When it failed last.
    pub failed_at: Option<String>,
    /// What the service said when it failed last.
    pub detail: Option<String>,
    /// How often it came again and was dropped.
    pub duplicates: i64,
    /// When it did last.
    pub duplicate_at: Option<String>,
    /// When it became a dead letter.
    pub dead_lettered_at: Option<String>,
    /// Why, in a word.
    pub reason: Option<String>,
    /// When it was handled after all.
    pub redriven_at: Option<String>,
}

/// A message that no stream has yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingMessage {
    /// Its id.
    pub message_id: Uuid,
    /// Where it is to be published.
    pub subject: String,
    /// The id of the message it answers.
    pub causation_id: Option<String>,
    /// When it was said.
    pub since: String,
    /// Why its stream can never take it; none if it is pending.
    #[serde(default)]
    pub refusal: Option<String>,
}

/// Where a matter stands with a service, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AggregateStatus {
    /// One line, such as `awaiting stock`.
    pub state: String,
    /// Since when, RFC 3339, where it is known.
    pub since: Option<String>,
    /// What the service itself waits for, where it does: a third party, a time, something scarce. Not other services'
    /// messages; that these have not come is seen elsewhere.
    pub blocked_on: Option<String>,
}

/// Makes the endpoint that tells.
pub(crate) fn endpoint<H: Handler>(
    db: DatabaseConnection,
    service: &'static str,
    handler: Arc<H>,
    health: Health,
) -> Endpoint {
    Endpoint::new("trace", subject(service, "*"), move |query| {
        let (db, handler, health) = (db.clone(), handler.clone(), health.clone());
        async move { answer(&db, service, &*handler, &health, query).await }
    })
}

async fn answer<H: Handler>(
    db: &DatabaseConnection,
    service: &str,
    handler: &H,
    health: &Health,
    query: Query,
) -> Result<Trace, QueryError> {
    let request: Request = if query.body.is_empty() {
        Request::default()
    } else {
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?
    };
    if request.message_ids.len() > MAX_IDS {
        return Err(QueryError::Invalid(format!("messageIds must be {MAX_IDS} at most")));
    }
    Ok(Trace {
        service: service.to_owned(),
        handled: handled(db, &request.message_ids).await?,
        delivery_issues: delivery_issues(db, &query.key, &request.message_ids).await?,
        outbox_pending: outbox_pending(db, &query.key).await?,
        status: handler.status(db, &query.key).await.map_err(QueryError::Unavailable)?,
        problems: health.problems(),
    })
}

async fn handled(db: &DatabaseConnection, ids: &[Uuid]) -> Result<Vec<Handled>, DbErr> {
    let rows = statement::select_in::<inbox::entity::Entity, _>(db, inbox::entity::Column::MessageId, ids).await?;
    let handled = rows.into_iter().map(|row| Handled { message_id: row.message_id, at: time(row.received_at) });
    Ok(handled.collect())
}

/// Those about the key, and those asked for by id that are about another: a subject that does not say it.
async fn delivery_issues(db: &DatabaseConnection, key: &str, ids: &[Uuid]) -> Result<Vec<DeliveryIssue>, DbErr> {
    use delivery_issue::entity::{Column, Entity};
    let of_key = Entity::find().filter(Column::Key.eq(key));
    let mut rows = of_key.order_by_desc(Column::UpdatedAt).limit(MAX_ROWS).all(db).await?;
    let known: HashSet<Uuid> = rows.iter().map(|row| row.message_id).collect();
    let of_ids = statement::select_in::<Entity, _>(db, Column::MessageId, ids).await?;
    rows.extend(of_ids.into_iter().filter(|row| !known.contains(&row.message_id)));
    let delivery_issue = |row: delivery_issue::entity::Model| DeliveryIssue {
        message_id: row.message_id,
        subject: row.subject,
        stream: row.stream,
        sequence: row.sequence,
        failures: row.failures,
        failed_at: row.failed_at.map(time),
        detail: row.detail,
        duplicates: row.duplicates,
        duplicate_at: row.duplicate_at.map(time),
        dead_lettered_at: row.dead_lettered_at.map(time),
        reason: row.reason,
        redriven_at: row.redriven_at.map(time),
    };
    Ok(rows.into_iter().map(delivery_issue).collect())
}

async fn outbox_pending(db: &DatabaseConnection, key: &str) -> Result<Vec<PendingMessage>, DbErr> {
    use outbox::entity::{Column, Entity, Model};
    // An underscore in the key stands for any character there, so what is found is looked at again.
    let mut rows =
        Entity::find().filter(Column::Subject.like(format!("%.{key}"))).order_by_asc(Column::RowId).limit(MAX_ROWS);
    QueryTrait::query(&mut rows).inner_join(outbox_pending::entity::Entity, outbox_pending::in_pending_batch());
    let mut rows = rows.all(db).await?;
    rows.retain(|row| row.subject.rsplit('.').next() == Some(key));
    let mut refusals = outbox_pending::refusals(db, rows.iter().map(|row| row.row_id).collect()).await?;
    let outbox_pending = |row: Model| -> Result<PendingMessage, DbErr> {
        let headers: Vec<Header> =
            serde_json::from_str(&row.headers).map_err(|error| DbErr::Json(error.to_string()))?;
        let causation_id = headers.into_iter().find(|(name, _)| name == envelope::CAUSATION_ID).map(|(_, id)| id);
        let since = time(outbox::written_at(row.row_id));
        let refusal = refusals.remove(&row.row_id);
        Ok(PendingMessage { message_id: row.message_id, subject: row.subject, causation_id, since, refusal })
    };
    rows.into_iter().map(outbox_pending).collect()
}

fn time(millis: i64) -> String {
    rfc3339(from_unix_millis(millis))
}
