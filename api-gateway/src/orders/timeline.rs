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
    standings: Vec<Standing>,
    /// What it waits for at present; empty where it waits for nothing that is known.
    waits_for: Vec<Wait>,
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
    delay_ms: Nullable<i64>,
    /// What else is to be known.
    note: Nullable<String>,
    /// What became of it with each service that listens to it.
    hearers: Vec<Hearer>,
}

/// What became of a message with one service.
#[derive(Object)]
#[oai(rename = "TimelineHearer", rename_all = "camelCase")]
struct Hearer {
    /// Which service.
    service: String,
    /// What became of it there.
    hearing: Hearing,
    /// When it was handled, or given up.
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
#[oai(rename = "TimelineHearing", rename_all = "kebab-case")]
enum Hearing {
    /// It is handled.
    Handled,
    /// It is not handled yet.
    Pending,
    /// It is a dead letter.
    GivenUp,
    /// It was a dead letter, and was handled after all.
    Redriven,
    /// It was a dead letter, and was removed by an operator.
    Discarded,
    /// The service does not answer, and no stream tells.
    Unknown,
}

/// Where the order stands with one service.
#[derive(Object)]
#[oai(rename = "TimelineStanding", rename_all = "camelCase")]
struct Standing {
    /// Which service.
    service: String,
    /// Where it stands, in the service's words.
    state: String,
    /// Since when.
    since: Nullable<String>,
}

/// Something that the order waits for.
#[derive(Object)]
#[oai(rename = "TimelineWait", rename_all = "camelCase")]
struct Wait {
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
    /// Whether it told everything.
    answered: bool,
    /// Why not.
    detail: Nullable<String>,
}
