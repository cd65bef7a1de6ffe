//! The history of a context over NATS: pages of its event store, for projections of other services.
//!
//! The owning service answers on `<context>.query.events`: [`endpoint`] is one of its
//! [queries](crate::ServiceBuilder::queries). A page is bounded in rows, and in bytes by what a NATS message can hold. An
//! event that is recorded after a page has passed its key is published after that, so the stream has it.

use std::time::Duration;

use async_nats::Client;
use sea_orm::DatabaseConnection;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::broker::declaration::history_subject;
use crate::inbound::query::{self, AskError, Endpoint, Query, QueryError, cut_page};
use crate::state::event_page::{self, EventKey};
use crate::state::event_store::entity::Model;

/// The maximum number of events per page.
pub const MAX_EVENTS: u64 = 500;
/// How long a page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The approximate bytes of an event in the reply besides its id, type, and body.
const OVERHEAD: usize = 300;

/// Returns the subject on which the owning service of a context answers.
#[must_use]
pub fn subject(context: &str) -> String {
    history_subject(context)
}

/// A request for a page of events, in the order of aggregate id and version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EventsRequest {
    /// The key of the last event of the page before; none for the first page.
    pub after: Option<EventKey>,
    /// The only aggregate to read; all by default.
    pub aggregate_id: Option<String>,
    /// Whether to count all recorded events, which reads the whole index.
    pub count: bool,
}

/// A page of events.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventsPage {
    /// The events.
    pub events: Vec<HistoricEvent>,
    /// The key of the last event, if more follow.
    pub next: Option<EventKey>,
    /// The number of recorded events, if requested.
    pub total: Option<u64>,
}

/// An event of the event store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoricEvent {
    /// The id of the aggregate.
    pub aggregate_id: String,
    /// The version of the aggregate after the event.
    pub version: i64,
    /// The id under which it was published.
    pub message_id: Uuid,
    /// The type, `<context>.<name>.v<version>`.
    pub message_type: String,
    /// The id of the message that caused it.
    pub causation_id: Uuid,
    /// The id of the message that began the flow.
    pub correlation_id: Uuid,
    /// When it was recorded, in milliseconds since 1970.
    pub recorded_at: i64,
    /// The payload.
    pub body: Box<RawValue>,
}

impl TryFrom<Model> for HistoricEvent {
    type Error = serde_json::Error;

    fn try_from(row: Model) -> Result<Self, serde_json::Error> {
        Ok(Self {
            aggregate_id: row.aggregate_id,
            version: row.version,
            message_id: row.message_id,
            message_type: row.message_type,
            causation_id: row.causation_id,
            correlation_id: row.correlation_id,
            recorded_at: row.recorded_at,
            body: RawValue::from_string(row.body)?,
        })
    }
}

/// Creates the query that serves the event store of a context. The service needs the permission to subscribe to its
/// [`subject`].
#[must_use]
pub fn endpoint(context: &str, db: &DatabaseConnection) -> Endpoint {
    let db = db.clone();
    Endpoint::new("events", subject(context), move |query| page(db.clone(), query))
}

async fn page(db: DatabaseConnection, query: Query) -> Result<EventsPage, QueryError> {
    let request: EventsRequest =
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?;
    // One row more than the page holds shows whether another page follows.
    let mut rows =
        event_page::after(&db, request.after.as_ref(), request.aggregate_id.as_deref(), MAX_EVENTS + 1).await?;
    let size = |row: &Model| row.body.len() + row.aggregate_id.len() + row.message_type.len() + OVERHEAD;
    let more = cut_page(&mut rows, MAX_EVENTS, size);
    let key = |row: &Model| EventKey { aggregate_id: row.aggregate_id.clone(), version: row.version };
    let next = rows.last().filter(|_| more).map(key);
    let total = if request.count { Some(event_page::count(&db).await?) } else { None };
    let events = rows.into_iter().map(HistoricEvent::try_from).collect::<Result<_, _>>();
    Ok(EventsPage { events: events.map_err(|error| QueryError::Unavailable(error.into()))?, next, total })
}

/// Requests a page of events of a context.
///
/// # Errors
///
/// [`AskError`], also for a reply that cannot be read.
pub async fn ask(client: &Client, context: &str, request: &EventsRequest) -> Result<EventsPage, AskError> {
    let body = serde_json::to_vec(request).map_err(|error| AskError::Invalid(error.to_string()))?;
    let reply = query::ask(client, subject(context), body.into(), PAGE_TIMEOUT).await?;
    serde_json::from_slice(&reply).map_err(|error| AskError::Broken(format!("the reply cannot be read: {error}")))
}
