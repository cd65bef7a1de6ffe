//! Dead letters: messages that services could not handle, in the stream `DEAD_LETTERS`.
//!
//! In reading order: this module lists and shows them, [`redrive`](mod@redrive) redrives them, [`delete`](mod@delete)
//! deletes them.

pub mod delete;
pub mod redrive;

use std::collections::BTreeMap;
use std::time::Duration;

use choreography::clock;
use choreography::dead_letter::{ATTEMPTS, CONSUMER, DETAIL, REASON, SEQUENCE, STREAM, STREAM_NAME, SUBJECT, TIME};
use choreography::direct::{self, Reader, Stored};
use choreography::envelope::{self, rfc3339};
#[cfg(feature = "cli")]
use choreography::setting;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{OperationError, Operator};

/// The maximum number of dead letters in one selection.
pub const MAX_SELECTION: usize = 100_000;

/// A dead letter, without its body.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its sequence in the stream of dead letters, which identifies it.
    pub sequence: u64,
    /// The service that dead-lettered it.
    pub service: String,
    /// The reason, as one token.
    pub reason: String,
    /// The reason in full, as a sentence.
    pub detail: String,
    /// The business id of the message.
    pub key: String,
    /// `<context>.<name>.v<version>`, if the message has a type.
    pub message_type: Option<String>,
    /// The message id, if the message has one.
    pub message_id: Option<String>,
    /// The subject on which the message was published.
    pub subject: String,
    /// The stream of the message.
    pub stream: String,
    /// The sequence of the message in that stream.
    pub stream_sequence: Option<u64>,
    /// The number of deliveries before it was dead-lettered.
    pub attempts: Option<u64>,
    /// When the service dead-lettered it, RFC 3339.
    pub dead_lettered_at: String,
    /// The number of seconds since then.
    pub age_seconds: u64,
}

/// A dead letter with its headers and its body.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeadLetterDetail {
    /// The entry in the list.
    #[serde(flatten)]
    pub dead_letter: DeadLetter,
    /// All headers.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The body: a JSON value, or otherwise a string in which invalid UTF-8 is replaced.
    pub body: Value,
}

/// A filter for dead letters. All criteria that are given must match.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct Filter {
    /// Dead letters of this service.
    #[cfg_attr(feature = "cli", arg(long, value_parser = setting::text()))]
    pub service: Option<String>,
    /// Dead letters of this message type, such as `order.placed` or `order.placed.v1`.
    #[cfg_attr(feature = "cli", arg(long = "type", value_name = "TYPE", value_parser = setting::text()))]
    pub message_type: Option<String>,
    /// Dead letters whose reason or detail contains this text.
    #[cfg_attr(feature = "cli", arg(long, value_parser = setting::text()))]
    pub reason: Option<String>,
    /// Dead letters about this business id.
    #[cfg_attr(feature = "cli", arg(long, value_parser = setting::text()))]
    pub key: Option<String>,
    /// Dead-lettered at least this long ago, such as `90s`, `15m`, `2h`, `3d`.
    #[cfg_attr(feature = "cli", arg(long, value_parser = setting::age()))]
    pub before: Option<Duration>,
    /// Dead-lettered at most this long ago.
    #[cfg_attr(feature = "cli", arg(long, value_parser = setting::age()))]
    pub since: Option<Duration>,
}

/// One page of dead letters.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Listing {
    /// The dead letters, oldest first.
    pub dead_letters: Vec<DeadLetter>,
    /// Whether more dead letters match.
    pub more: bool,
}

impl Filter {
    /// Returns whether no criterion is given, so that every dead letter matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { service, message_type, reason, key, before, since } = self;
        [service, message_type, reason, key].iter().all(|given| given.is_none())
            && before.is_none()
            && since.is_none()
    }

    /// Returns the narrowest subject filter for the server.
    fn subject(&self) -> String {
        let token = |given: &Option<String>| match given {
            Some(text) if is_token(text) => text.clone(),
            _ => "*".to_owned(),
        };
        format!("dead-letter.{}.*.{}", token(&self.service), token(&self.key))
    }

    fn passes(&self, dead_letter: &DeadLetter) -> bool {
        let is = |given: &Option<String>, value: &str| given.as_deref().is_none_or(|given| given == value);
        let of_type = self.message_type.as_deref().is_none_or(|given| {
            dead_letter.message_type.as_deref().is_some_and(|known| {
                known == given || known.strip_prefix(given).is_some_and(|rest| rest.starts_with(".v"))
            })
        });
        let of_reason = self.reason.as_deref().is_none_or(|given| {
            let given = given.to_lowercase();
            dead_letter.reason.contains(&given) || dead_letter.detail.to_lowercase().contains(&given)
        });
        let age = Duration::from_secs(dead_letter.age_seconds);
        is(&self.service, &dead_letter.service)
            && is(&self.key, &dead_letter.key)
            && of_type
            && of_reason
            && self.before.is_none_or(|min| age >= min)
            && self.since.is_none_or(|max| age <= max)
    }
}

/// Returns whether a text is one valid token of a subject.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c == '.' || c == '*' || c == '>' || c.is_whitespace() || c.is_control())
}

/// Lists at most `limit` dead letters, oldest first.
///
/// # Errors
///
/// [`OperationError::Unavailable`] if the stream cannot be read.
pub async fn list(operator: &Operator, filter: &Filter, limit: usize) -> Result<Listing, OperationError> {
    let limit = limit.min(MAX_SELECTION);
    let mut reader = Reader::start(operator.js(), STREAM_NAME, &filter.subject(), 1).await?;
    let mut dead_letters = Vec::new();
    while let Some(batch) = reader.next_batch().await? {
        for dead_letter in batch.iter().map(read).filter(|dead_letter| filter.passes(dead_letter)) {
            if dead_letters.len() == limit {
                return Ok(Listing { dead_letters, more: true });
            }
            dead_letters.push(dead_letter);
        }
    }
    Ok(Listing { dead_letters, more: false })
}

/// Returns one dead letter with its headers and its body; `None` if this sequence is not a dead letter.
///
/// # Errors
///
/// [`OperationError::Unavailable`] if the stream cannot be read.
pub async fn show(operator: &Operator, sequence: u64) -> Result<Option<DeadLetterDetail>, OperationError> {
    Ok(stored(operator, sequence).await?.map(|stored| DeadLetterDetail {
        dead_letter: read(&stored),
        headers: headers(&stored),
        body: body(&stored.body),
    }))
}

/// Returns the dead letters with these sequences, and the sequences that are not dead letters.
///
/// # Errors
///
/// [`OperationError::Unavailable`] if the stream cannot be read.
pub async fn named(operator: &Operator, sequences: &[u64]) -> Result<(Vec<DeadLetter>, Vec<u64>), OperationError> {
    let (mut dead_letters, mut absent) = (Vec::new(), Vec::new());
    for sequence in sequences {
        match stored(operator, *sequence).await? {
            Some(stored) => dead_letters.push(read(&stored)),
            None => absent.push(*sequence),
        }
    }
    Ok((dead_letters, absent))
}

async fn stored(operator: &Operator, sequence: u64) -> anyhow::Result<Option<Stored>> {
    // From 0 on, the server returns the first message, whatever its sequence.
    if sequence == 0 {
        return Ok(None);
    }
    let stored = direct::get(operator.js(), STREAM_NAME, sequence).await?;
    Ok(stored.filter(|stored| stored.subject.starts_with("dead-letter.")))
}

/// Reads the headers of a dead letter; its subject replaces missing ones.
fn read(stored: &Stored) -> DeadLetter {
    let header = |name: &str| stored.header(name).map(str::to_owned);
    let mut tokens = stored.subject.splitn(4, '.').skip(1).map(str::to_owned);
    let (service, reason, key) = (tokens.next(), tokens.next(), tokens.next());
    let dead_lettered_at =
        stored.header(TIME).and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok()).unwrap_or(stored.time);
    let age = clock::now() - dead_lettered_at;
    DeadLetter {
        sequence: stored.sequence,
        service: header(CONSUMER).or(service).unwrap_or_default(),
        reason: header(REASON).or(reason).unwrap_or_default(),
        detail: header(DETAIL).unwrap_or_default(),
        key: key.unwrap_or_default(),
        message_type: header(envelope::TYPE),
        message_id: header(envelope::ID),
        subject: header(SUBJECT).unwrap_or_default(),
        stream: header(STREAM).unwrap_or_default(),
        stream_sequence: stored.header(SEQUENCE).and_then(|text| text.parse().ok()),
        attempts: stored.header(ATTEMPTS).and_then(|text| text.parse().ok()),
        dead_lettered_at: rfc3339(dead_lettered_at),
        age_seconds: u64::try_from(age.whole_seconds()).unwrap_or(0),
    }
}

fn headers(stored: &Stored) -> BTreeMap<String, Vec<String>> {
    let values = |values: &Vec<async_nats::HeaderValue>| values.iter().map(|v| v.as_str().to_owned()).collect();
    stored.headers.iter().map(|(name, all)| (name.to_string(), values(all))).collect()
}

fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}
