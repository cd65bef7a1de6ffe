//! The timeline, as data.

use std::collections::BTreeMap;

use choreography::trace::Trace;
use serde::Serialize;
use uuid::Uuid;

/// The history of one business id, and its blockers. All times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Timeline {
    /// The business id.
    pub key: String,
    /// When the timeline was requested.
    pub asked_at: String,
    /// Every message about it in the streams, in the order in which the streams stored them.
    pub steps: Vec<Step>,
    /// The status of its aggregate in each service that has one.
    pub services: Vec<ServiceStatus>,
    /// The current blockers; empty if none is known.
    pub blocked_on: Vec<Blocker>,
    /// The streams and services that were queried, and whether they were available.
    pub sources: Vec<Source>,
}

/// The status of the aggregate in one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServiceStatus {
    /// The name of the service.
    pub service: String,
    /// The state, as the service names it.
    pub state: String,
    /// The time since which it is in that state.
    pub since: Option<String>,
}

/// A reason why a business id makes no progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Blocker {
    /// The service that is blocked.
    pub service: String,
    /// The reason, as a sentence.
    pub what: String,
    /// The time since which it blocks.
    pub since: Option<String>,
}

/// A stream or a service that was queried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Source {
    /// The name of the stream or the service.
    pub name: String,
    /// Whether it replied completely.
    pub available: bool,
    /// The reason if it did not; or the messages that a stream has discarded, if they may include the start of the
    /// timeline; or its consumers that belong to no service of the topology, for operators.
    pub detail: Option<String>,
}

impl Source {
    pub(super) fn available(name: &str) -> Self {
        Self { name: name.to_owned(), available: true, detail: None }
    }

    pub(super) fn failed(name: &str, why: String) -> Self {
        Self { name: name.to_owned(), available: false, detail: Some(why) }
    }
}

impl Timeline {
    /// Returns whether nothing is known about the business id.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.services.is_empty() && self.blocked_on.is_empty()
    }

    /// Returns whether all sources were available.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.sources.iter().all(|source| source.available)
    }
}

/// One message about the business id. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Step {
    /// When the stream stored it, by the server's clock.
    pub time: String,
    /// The name of the stream.
    pub stream: String,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// The producer.
    pub source: Option<String>,
    /// The message id, if the message has a valid one.
    pub message_id: Option<Uuid>,
    /// The id of the message that caused it.
    pub causation_id: Option<Uuid>,
    /// On whose behalf the flow runs, such as `user:<id>`; `None` if the message does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The number of messages of this timeline that led to it.
    pub depth: usize,
    /// The delay of the outbox in milliseconds: from the time of the message, by its producer's clock, to the time in
    /// the stream.
    pub outbox_delay_ms: Option<i64>,
    /// Additional information: when a timer is due, why a message was dead-lettered.
    pub note: Option<String>,
    /// The delivery status at each service that consumes it.
    pub consumers: Vec<Consumer>,
    /// The sort key: when the stream stored it, or, after a stream restore, the time of the message.
    #[serde(skip)]
    pub(super) order: String,
    /// The id by which the stream deduplicates it.
    #[serde(skip)]
    pub(super) stored_as: Option<Uuid>,
    /// Of a dead letter: the message, and the service that dead-lettered it.
    #[serde(skip)]
    pub(super) dead_lettered: Option<DeadLettered>,
}

/// The message that became a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadLettered {
    pub(super) service: String,
    pub(super) stream: String,
    pub(super) sequence: u64,
    pub(super) deleted: bool,
}

/// The delivery status of a message at one service. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Consumer {
    /// The name of the service.
    pub service: String,
    /// The delivery status there.
    pub status: DeliveryStatus,
    /// When it was handled, or dead-lettered.
    pub at: Option<String>,
    /// The number of failed attempts.
    pub failures: i64,
    /// The last error that the service reported.
    pub failure: Option<String>,
    /// The number of duplicates that the inbox dropped.
    pub duplicates: i64,
}

impl Consumer {
    /// Returns the status of a message that a service has not handled yet, as far as is known.
    pub(super) fn pending(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            status: DeliveryStatus::Pending,
            at: None,
            failures: 0,
            failure: None,
            duplicates: 0,
        }
    }
}

/// The delivery status of a message at one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryStatus {
    /// It is handled.
    Handled,
    /// It is not handled yet.
    Pending,
    /// It is a dead letter.
    DeadLettered,
    /// It was a dead letter and was redriven.
    Redriven,
    /// It was a dead letter and was deleted by an operator.
    Deleted,
    /// The service does not reply, and no stream shows the status.
    Unknown,
}

/// The replies of the services by name, or the reason for a missing one.
pub(super) type Traces = BTreeMap<String, Result<Trace, String>>;

/// The streams that the caller may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All streams.
    Everything,
    /// All but `DEAD_LETTERS`; dead letters are known from the replies of their services.
    NotDeadLetters,
}
