//! The JSON of an order's timeline. It describes, for OpenAPI, what `choreography_ops::explain` serialises.

use poem_openapi::{Enum, Object};

use choreography_http::json::Nullable;

/// The timeline of an order across all services, and its blockers. Times are RFC 3339.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Timeline {
    /// The order's id.
    key: String,
    /// When the timeline was requested.
    asked_at: String,
    /// Every stored message with the order's id, in the order in which the streams stored them.
    steps: Vec<Step>,
    /// The order's status in each service that reports one.
    services: Vec<ServiceStatus>,
    /// What the order waits for; empty if nothing is known.
    blocked_on: Vec<Blocker>,
    /// The sources of the timeline, and whether each was available.
    sources: Vec<Source>,
}

/// A message with the order's id.
#[derive(Object)]
#[oai(rename = "TimelineStep", rename_all = "camelCase")]
struct Step {
    /// When the stream stored it.
    time: String,
    /// The stream.
    stream: String,
    /// Its sequence in the stream.
    sequence: u64,
    /// Its subject.
    subject: String,
    /// The producer.
    source: Nullable<String>,
    /// Its id.
    message_id: Nullable<String>,
    /// The id of the message that caused it.
    causation_id: Nullable<String>,
    /// On whose behalf the flow runs, such as `user:<id>`; absent if callers do not sign in.
    by: Option<String>,
    /// How many messages of this timeline precede it in its chain of causes.
    depth: u64,
    /// From its creation to its storage in the stream, in milliseconds.
    outbox_delay_ms: Nullable<i64>,
    /// A remark, if there is one.
    note: Nullable<String>,
    /// The delivery status at each consumer.
    consumers: Vec<Consumer>,
}

/// The delivery of a message to one service.
#[derive(Object)]
#[oai(rename = "TimelineConsumer", rename_all = "camelCase")]
struct Consumer {
    /// The consuming service.
    service: String,
    /// The delivery status.
    status: DeliveryStatus,
    /// When it was handled or dead-lettered.
    at: Nullable<String>,
    /// How many deliveries failed.
    failures: i64,
    /// The service's error at the last failure.
    failure: Nullable<String>,
    /// How many repeated deliveries were dropped.
    duplicates: i64,
}

/// The delivery status of a message at one service.
#[derive(Enum)]
#[oai(rename = "TimelineDeliveryStatus", rename_all = "kebab-case")]
enum DeliveryStatus {
    /// The service has processed it.
    Handled,
    /// The service has not processed it yet.
    Pending,
    /// It is a dead letter.
    DeadLettered,
    /// It was a dead letter, and was processed after a redrive.
    Redriven,
    /// It was a dead letter, and an operator deleted it.
    Deleted,
    /// The service is unavailable, and no stream has the status.
    Unknown,
}

/// The order's status in one service.
#[derive(Object)]
#[oai(rename = "TimelineServiceStatus", rename_all = "camelCase")]
struct ServiceStatus {
    /// The service.
    service: String,
    /// The status, in the service's terms.
    state: String,
    /// Since when.
    since: Nullable<String>,
}

/// A condition that the order waits for.
#[derive(Object)]
#[oai(rename = "TimelineBlocker", rename_all = "camelCase")]
struct Blocker {
    /// The waiting service.
    service: String,
    /// The condition, in a sentence.
    what: String,
    /// Since when.
    since: Nullable<String>,
}

/// A stream or a service that the timeline was read from.
#[derive(Object)]
#[oai(rename = "TimelineSource", rename_all = "camelCase")]
struct Source {
    /// Its name.
    name: String,
    /// Whether it replied completely.
    available: bool,
    /// Why it was unavailable; or the messages that a stream has discarded, if they may include the start of the
    /// timeline.
    detail: Nullable<String>,
}
