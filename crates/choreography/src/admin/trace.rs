//! The state of one business id in a service: handled messages with their times, delivery issues, pending outbox
//! messages, and the aggregate's status if the service reports one.
//!
//! Each service serves `admin.<service>.trace.<key>`. The inbox stores the ids of messages and not their keys, so the
//! request contains the ids that the caller has found in the streams.

use std::collections::HashSet;
use std::sync::Arc;

use sea_orm::{
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::inbound::handler::{AggregateStatus, ReportStatus};
use crate::inbound::inbox;
use crate::inbound::query::{Endpoint, Query, QueryError};
use crate::outbound::outbox;
use crate::outbound::outbox_pending;
use crate::state::delivery_issue;
use crate::state::statement;
use crate::telemetry::health::Health;
use crate::wire::envelope::{self, Header, from_unix_millis, rfc3339};

/// The maximum number of ids per request.
pub const MAX_IDS: usize = 1000;
/// The maximum number of delivery issues, and of pending messages, per reply.
const MAX_ROWS: u64 = 200;

/// Returns the subject on which a service reports the state of a key.
#[must_use]
pub fn subject(service: &str, key: &str) -> String {
    format!("admin.{service}.trace.{key}")
}

/// The messages to report on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Their ids, at most [`MAX_IDS`].
    pub message_ids: Vec<Uuid>,
}

/// The state of a key in a service. Times are RFC 3339, by the service's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// The name of the service that reports.
    pub service: String,
    /// The requested messages that it has handled or dead-lettered.
    pub handled: Vec<Handled>,
    /// The delivery issues of the key's messages.
    pub delivery_issues: Vec<DeliveryIssue>,
    /// The key's outbox messages that no stream has acknowledged.
    pub outbox_pending: Vec<PendingMessage>,
    /// The status of the aggregate, if the service reports one.
    pub status: Option<AggregateStatus>,
    /// The parts of this instance that readiness reports as failing, each as `part: reason`.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// A message that the service has handled or dead-lettered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handled {
    /// The id of the message.
    pub message_id: Uuid,
    /// When the stream stored it, or when a redrive handled it.
    pub at: String,
}

/// The delivery issues of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryIssue {
    /// Its id, or one derived from its position in the stream if it has no trusted id.
    pub message_id: Uuid,
    /// The subject on which it was published.
    pub subject: String,
    /// The stream that delivered it.
    pub stream: String,
    /// Its stream sequence, at the last delivery reported here.
    pub sequence: i64,
    /// How often it failed.
    pub failures: i64,
    /// When it failed last.
    pub failed_at: Option<String>,
    /// The error's text at its last failure.
    pub detail: Option<String>,
    /// How often it was delivered again and dropped.
    pub duplicates: i64,
    /// When the last duplicate arrived.
    pub duplicate_at: Option<String>,
    /// When it became a dead letter.
    pub dead_lettered_at: Option<String>,
    /// Why, as the text form of a [`Reason`](crate::outbound::dead_letter::Reason).
    pub reason: Option<String>,
    /// When a redrive handled it.
    pub redriven_at: Option<String>,
}

/// An outbox message that no stream has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingMessage {
    /// The id of the message.
    pub message_id: Uuid,
    /// The subject on which it is to be published.
    pub subject: String,
    /// The id of the message that caused it.
    pub causation_id: Option<String>,
    /// When it was created.
    pub since: String,
    /// Why its stream can never store it; `None` if it is pending.
    #[serde(default)]
    pub refusal: Option<String>,
}

/// Creates the trace endpoint.
pub(crate) fn endpoint(
    db: DatabaseConnection,
    service: &'static str,
    handler: Arc<dyn ReportStatus>,
    health: Health,
) -> Endpoint {
    Endpoint::new("trace", subject(service, "*"), move |query| {
        let (db, handler, health) = (db.clone(), handler.clone(), health.clone());
        async move { reply(&db, service, &*handler, &health, query).await }
    })
}

async fn reply(
    db: &DatabaseConnection,
    service: &str,
    handler: &dyn ReportStatus,
    health: &Health,
    query: Query,
) -> Result<Trace, QueryError> {
    let request: Request = if query.body.is_empty() {
        Request::default()
    } else {
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?
    };
    if request.message_ids.len() > MAX_IDS {
        return Err(QueryError::Invalid(format!("messageIds must have at most {MAX_IDS} entries")));
    }
    Ok(Trace {
        service: service.to_owned(),
        handled: handled(db, &request.message_ids).await?,
        delivery_issues: delivery_issues(db, &query.key, &request.message_ids).await?,
        outbox_pending: outbox_pending(db, &query.key).await?,
        status: handler.report_status(db, &query.key).await.map_err(QueryError::Unavailable)?,
        problems: health.problems(),
    })
}

async fn handled(db: &DatabaseConnection, ids: &[Uuid]) -> Result<Vec<Handled>, DbErr> {
    let rows = statement::select_in::<inbox::entity::Entity, _>(db, inbox::entity::Column::MessageId, ids).await?;
    let handled = rows.into_iter().map(|row| Handled { message_id: row.message_id, at: time(row.received_at) });
    Ok(handled.collect())
}

/// Returns the issues of the key, and those of the requested ids whose subject has another key.
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
    // An underscore in the key matches any character there, so the result is filtered again.
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
