//! Dead dead letters, as operators see them. Describes, for OpenAPI, what `choreo::dead_letters` writes.

use std::collections::BTreeMap;

use poem_openapi::{Enum, Object};
use serde_json::Value;

use crate::json::Nullable;

/// Dead dead letters, oldest first.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct DeadLetterPage {
    /// The dead letters, oldest first.
    dead_letters: Vec<DeadLetter>,
    /// Whether there are more than were asked for.
    more: bool,
}

/// A message that a service could not handle.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct DeadLetter {
    /// Its place in the stream of dead letters; this is how it is named.
    sequence: u64,
    /// The service that dead-lettered it.
    service: String,
    /// Why, in a word.
    reason: String,
    /// Why, in a sentence.
    detail: String,
    /// The business id it is about.
    key: String,
    /// `<context>.<name>.v<version>`, as far as the message says it.
    message_type: Nullable<String>,
    /// The id of the message, as far as it says one.
    message_id: Nullable<String>,
    /// The subject it was published on.
    subject: String,
    /// The stream it came from.
    stream: String,
    /// Its sequence there.
    stream_sequence: Nullable<u64>,
    /// How often it had been delivered.
    attempts: Nullable<u64>,
    /// When the service dead-lettered it, RFC 3339.
    dead_lettered_at: String,
    /// How many seconds ago that was.
    age_seconds: u64,
}

/// A dead letter with everything it carries.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct DeadLetterDetail {
    #[oai(flatten)]
    dead_letter: DeadLetter,
    /// All its headers.
    headers: BTreeMap<String, Vec<String>>,
    /// Its body: JSON where it is that, and text otherwise.
    body: Value,
}

/// What became of dead letters that were sent back.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Redrive {
    /// What became of each, in the order in which they were tried.
    results: Vec<Redriven>,
    /// Sequences of which there is no dead letter (any more).
    absent: Vec<u64>,
    /// What became of all of them.
    summary: RedriveSummary,
}

/// What became of one dead letter.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Redriven {
    /// Its sequence in the stream of dead letters.
    sequence: u64,
    /// The service that was asked.
    service: String,
    /// The business id it is about.
    key: String,
    /// What became of it.
    outcome: RedriveOutcome,
    /// Why, where it is neither handled nor gone.
    reason: Option<String>,
    /// Whether the stream of dead letters has it no more.
    removed: bool,
}

/// What became of one dead letter.
#[derive(Enum)]
#[oai(rename_all = "kebab-case")]
enum RedriveOutcome {
    /// It is handled, with all that follows from it.
    Handled,
    /// It was handled before; nothing changed.
    AlreadyHandled,
    /// It failed again; nothing changed.
    Failed,
    /// The service will not try it; nothing changed.
    Refused,
    /// There is no such dead letter (any more).
    Gone,
    /// It may be handled or not; sending it back again is safe, and tells.
    Unknown,
}

/// How many dead letters became what.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct RedriveSummary {
    /// Handled now.
    handled: u64,
    /// Handled before.
    already_handled: u64,
    /// Failed again.
    failed: u64,
    /// Refused by their service.
    refused: u64,
    /// Not there any more.
    gone: u64,
    /// Nobody knows.
    unknown: u64,
    /// Not tried, because it stopped before.
    not_tried: u64,
    /// Why it stopped before the end.
    stopped: Nullable<String>,
}

/// A dead letter that is removed.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Deleted {
    /// Its sequence in the stream of dead letters.
    sequence: u64,
    /// Always `true`.
    deleted: bool,
}
