//! What happened to an order across all services. Describes, for OpenAPI, what `choreo::explain` writes.

use poem_openapi::{Enum, Object};

use crate::json::Nullable;

/// What happened to an order across all services, and what it waits for. Times are RFC 3339.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Timeline {
    /// The order's id.
    key: String,
    /// When this was asked.
    asked_at: String,
    /// Every message about it that a stream holds, in the order in which the streams got them.
    steps: Vec<Step>,
    /// Where it stands with each service that tells.
    services: Vec<ServiceStatus>,
    /// What it waits for at present; empty where it waits for nothing that is known.
    blocked_on: Vec<Blocker>,
    /// Where this was gathered, and what did not answer.
    sources: Vec<Source>,
}

/// One message about the order.
#[derive(Object)]
#[oai(rename = "TimelineStep", rename_all = "camelCase")]
struct Step {
    /// When the stream got it.
    time: String,
    /// Which stream.
    stream: String,
    /// Its place there.
    sequence: u64,
    /// Its subject.
    subject: String,
    /// Who said it.
    source: Nullable<String>,
    /// Its id.
    message_id: Nullable<String>,
    /// The id of the message it answers.
    causation_id: Nullable<String>,
    /// How many messages of this timeline lead to it.
    depth: u64,
    /// How long it took from its being said to the stream, in milliseconds.
    outbox_delay_ms: Nullable<i64>,
    /// What else is to be known.
    note: Nullable<String>,
    /// What became of it with each service that listens to it.
    consumers: Vec<Consumer>,
}

/// What became of a message with one service.
#[derive(Object)]
#[oai(rename = "TimelineConsumer", rename_all = "camelCase")]
struct Consumer {
    /// Which service.
    service: String,
    /// What became of it there.
    status: DeliveryStatus,
    /// When it was handled, or dead-lettered.
    at: Nullable<String>,
    /// How often it failed.
    failures: i64,
    /// What the service said when it failed last.
    failure: Nullable<String>,
    /// How often it came again and was dropped.
    duplicates: i64,
}

/// What became of a message with one service.
#[derive(Enum)]
#[oai(rename = "TimelineDeliveryStatus", rename_all = "kebab-case")]
enum DeliveryStatus {
    /// It is handled.
    Handled,
    /// It is not handled yet.
    Pending,
    /// It is a dead letter.
    DeadLettered,
    /// It was a dead letter, and was handled after all.
    Redriven,
    /// It was a dead letter, and was removed by an operator.
    Deleted,
    /// The service does not answer, and no stream tells.
    Unknown,
}

/// Where the order stands with one service.
#[derive(Object)]
#[oai(rename = "TimelineServiceStatus", rename_all = "camelCase")]
struct ServiceStatus {
    /// Which service.
    service: String,
    /// Where it stands, in the service's words.
    state: String,
    /// Since when.
    since: Nullable<String>,
}

/// Something that the order waits for.
#[derive(Object)]
#[oai(rename = "TimelineBlocker", rename_all = "camelCase")]
struct Blocker {
    /// The service with which it waits.
    service: String,
    /// For what, in a sentence.
    what: String,
    /// Since when.
    since: Nullable<String>,
}

/// A stream or a service that was asked.
#[derive(Object)]
#[oai(rename = "TimelineSource", rename_all = "camelCase")]
struct Source {
    /// Its name.
    name: String,
    /// Whether it answered completely.
    available: bool,
    /// Why not.
    detail: Nullable<String>,
}
