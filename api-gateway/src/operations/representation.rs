//! The JSON of dead letters. It describes, for OpenAPI, what `choreography_ops::dead_letters` serialises.

use std::collections::BTreeMap;

use poem_openapi::{Enum, Object};
use serde_json::Value;

use choreography_http::json::Nullable;

/// Dead letters, oldest first.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct DeadLetterPage {
    /// The dead letters, oldest first.
    dead_letters: Vec<DeadLetter>,
    /// Whether there are more than the limit.
    more: bool,
}

/// A message that a service could not process.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct DeadLetter {
    /// Its sequence in the stream of dead letters, which identifies it.
    sequence: u64,
    /// The service that dead-lettered it.
    service: String,
    /// The reason, as a code.
    reason: String,
    /// The reason, in a sentence.
    detail: String,
    /// The business id, such as the id of an order.
    key: String,
    /// `<context>.<name>.v<version>`; null if the message has none.
    message_type: Nullable<String>,
    /// The id of the message; null if it has none.
    message_id: Nullable<String>,
    /// The subject it was published on.
    subject: String,
    /// The stream of the message.
    stream: String,
    /// Its sequence in that stream.
    stream_sequence: Nullable<u64>,
    /// How often it was delivered.
    attempts: Nullable<u64>,
    /// When the service dead-lettered it, RFC 3339.
    dead_lettered_at: String,
    /// The seconds since then.
    age_seconds: u64,
}

/// A dead letter with headers and body.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct DeadLetterDetail {
    #[oai(flatten)]
    dead_letter: DeadLetter,
    /// All headers.
    headers: BTreeMap<String, Vec<String>>,
    /// The body: JSON if it is valid JSON, otherwise text.
    body: Value,
}

/// The result of redriving dead letters.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Redrive {
    /// The result of each, in the order of redriving.
    results: Vec<Redriven>,
    /// Requested sequences without a dead letter.
    absent: Vec<u64>,
    /// The totals.
    summary: RedriveSummary,
}

/// The result of redriving one dead letter.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Redriven {
    /// Its sequence in the stream of dead letters.
    sequence: u64,
    /// The service that dead-lettered it.
    service: String,
    /// The business id, such as the id of an order.
    key: String,
    /// The outcome.
    outcome: RedriveOutcome,
    /// The reason, unless it is handled or gone.
    reason: Option<String>,
    /// Whether it is deleted from the stream of dead letters.
    removed: bool,
}

/// The outcome of redriving one dead letter.
#[derive(Enum)]
#[oai(rename_all = "kebab-case")]
enum RedriveOutcome {
    /// The service processed it, and published what it caused.
    Handled,
    /// The service had processed it before; nothing changed.
    AlreadyHandled,
    /// It failed again; nothing changed.
    Failed,
    /// The service refused to process it; nothing changed.
    Refused,
    /// The dead letter does not exist, or no longer exists.
    Gone,
    /// The service may have processed it or not. Redriving it again is safe and determines the outcome.
    Unknown,
}

/// The number of dead letters per outcome.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct RedriveSummary {
    /// Processed now.
    handled: u64,
    /// Processed before.
    already_handled: u64,
    /// Failed again.
    failed: u64,
    /// Refused by their service.
    refused: u64,
    /// No longer in the stream.
    gone: u64,
    /// Outcome unknown.
    unknown: u64,
    /// Not redriven, because the redrive stopped early.
    not_tried: u64,
    /// Why the redrive stopped early; null if it did not.
    stopped: Nullable<String>,
}

/// A deleted dead letter.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Deleted {
    /// Its sequence in the stream of dead letters.
    sequence: u64,
    /// Always `true`.
    deleted: bool,
}
