//! The envelope: CloudEvents 1.0 over NATS in binary mode.
//!
//! Attributes are `ce-` headers; the body is plain JSON, readable in `nats sub`:
//!
//! | header | |
//! |---|---|
//! | `ce-specversion` | `1.0` |
//! | `ce-id`, `Nats-Msg-Id` | the message's id, a UUID |
//! | `ce-type` | `<context>.<name>.v<version>` |
//! | `ce-source` | `/<service>`, the producer |
//! | `ce-subject` | the business id, the last token of the NATS subject |
//! | `ce-time` | RFC 3339 |
//! | `ce-correlationid` | the id of the message that began the flow |
//! | `ce-causationid` | the id of the message that caused this one; not set for commands from outside |
//! | `ce-aggregateversion` | the version of the aggregate after this event; events only |
//! | `ce-authtype` | `user`, `service_account`, `system`, or `unauthenticated`; not set if the gateway does not require sign-in |
//! | `ce-authid` | the id of the user or service account on whose behalf the flow runs |
//! | `traceparent` | W3C trace context, if the caller sent one or spans are exported |

use std::borrow::Cow;

use async_nats::{HeaderMap, HeaderName};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

pub use crate::wire::auth::{Auth, AuthType};
use crate::wire::message::{DecodeError, MessageInfo, Messages, UnknownVersion};
use crate::wire::trace_parent;

/// The id of the message.
pub const ID: &str = "ce-id";
/// The type of the message.
pub const TYPE: &str = "ce-type";
/// The producer of the message.
pub const SOURCE: &str = "ce-source";
/// The business id of the message.
pub const SUBJECT: &str = "ce-subject";
/// When the message was created.
pub const TIME: &str = "ce-time";
/// The id of the message that began the flow.
pub const CORRELATION_ID: &str = "ce-correlationid";
/// The id of the message that caused this one.
pub const CAUSATION_ID: &str = "ce-causationid";
/// The version of the aggregate after this event.
pub const AGGREGATE_VERSION: &str = "ce-aggregateversion";
/// On whose behalf a flow runs: the kind of principal (CloudEvents Auth Context extension).
pub const AUTH_TYPE: &str = "ce-authtype";
/// The id of that principal.
pub const AUTH_ID: &str = "ce-authid";
/// The CloudEvents version.
pub const SPEC_VERSION: &str = "ce-specversion";
/// The id by which a stream drops duplicates, within its duplicate window.
pub const NATS_MESSAGE_ID: &str = "Nats-Msg-Id";
/// When the server delivers the message.
pub(crate) const SCHEDULE: &str = "Nats-Schedule";
/// The subject on which the server delivers it.
pub(crate) const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";
/// Makes the message replace all others on its subject.
pub(crate) const ROLLUP: &str = "Nats-Rollup";
/// The header of a message that a stream restore republished, with the time, RFC 3339.
pub const REPUBLISHED: &str = "Republished-At";
/// The W3C trace context, if the flow has one.
pub const TRACE_PARENT: &str = "traceparent";

/// A message whose attributes have been checked, with its payload decoded.
#[derive(Debug, Clone)]
pub struct Envelope<T> {
    /// The id of the message, the same on every delivery.
    pub id: Uuid,
    /// The type, `<context>.<name>.v<version>`.
    pub message_type: String,
    /// The producer, `/<service>`.
    pub source: String,
    /// The business id of the message.
    pub key: String,
    /// When it was created, by its producer's clock.
    pub time: OffsetDateTime,
    /// The id of the message that began the flow.
    pub correlation_id: Uuid,
    /// The id of the message that caused this one.
    pub causation_id: Option<Uuid>,
    /// The version of the aggregate after this event.
    pub aggregate_version: Option<i64>,
    /// W3C trace context; `None` if the message has no valid one.
    pub trace_parent: Option<String>,
    /// On whose behalf the flow runs; `None` if the message does not say.
    pub auth: Option<Auth>,
    /// The decoded payload.
    pub payload: T,
}

impl<T> Envelope<T> {
    /// Returns this message as the cause of another.
    #[must_use]
    pub fn cause(&self) -> Cause {
        Cause {
            id: self.id,
            correlation_id: self.correlation_id,
            trace_parent: self.trace_parent.clone(),
            auth: self.auth.clone(),
        }
    }
}

/// The cause of an outgoing message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The id of the message that caused it.
    pub id: Uuid,
    /// The flow it belongs to. A message that continues another flow (a restock that serves a backorder) sets the
    /// correlation id of that flow here.
    pub correlation_id: Uuid,
    /// The W3C trace context, if the flow has one.
    pub trace_parent: Option<String>,
    /// On whose behalf the flow runs, if that is known. A clone allocates nothing.
    pub auth: Option<Auth>,
}

/// A message to be written to the outbox in the transaction of the message that caused it.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The id, derived by [`Outgoing::new`].
    pub id: Uuid,
    /// The NATS subject to publish on.
    pub subject: String,
    /// The type, `<context>.<name>.v<version>`.
    pub message_type: &'static str,
    /// The business id of the message.
    pub key: String,
    /// The payload, as JSON.
    pub body: Vec<u8>,
    /// The version of the aggregate after this event.
    pub aggregate_version: Option<i64>,
    /// The message that caused it.
    pub cause: Cause,
    /// When it is delivered.
    pub timing: Timing,
}

/// When an outgoing message is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timing {
    /// As soon as it is published.
    Now,
    /// At a time, on another subject of the same stream (which must allow schedules). Each subject holds one schedule:
    /// a second one replaces the first.
    At {
        /// When; a time in the past means now.
        time: OffsetDateTime,
        /// The subject on which it is delivered.
        target: String,
    },
    /// Never: cancels the schedule on the same subject, unless it has fired.
    Cancel,
}

/// A header; most names are known at compile time.
pub type Header = (Cow<'static, str>, String);

impl Timing {
    /// Returns the headers that the server acts upon.
    pub(crate) fn headers(&self) -> Vec<Header> {
        let headers = match self {
            Self::Now => vec![],
            Self::At { time, target } => {
                // The server schedules in whole seconds; rounding up prevents an early timer.
                let time = *time + time::Duration::nanoseconds(999_999_999);
                let time = time.replace_nanosecond(0).unwrap_or(time);
                vec![(SCHEDULE, format!("@at {}", rfc3339(time))), (SCHEDULE_TARGET, target.clone())]
            }
            Self::Cancel => vec![(ROLLUP, "sub".to_owned())],
        };
        headers.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect()
    }
}

impl Outgoing {
    /// Sets when the message is delivered; by default as soon as it is published.
    #[must_use]
    pub fn timed(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// Creates a message whose id is derived from its cause, its subject, and its version (ADRs 2 and 22). So handling
    /// the same cause again yields the same id.
    #[must_use]
    pub fn new(
        cause: Cause,
        subject: String,
        message_type: &'static str,
        key: &str,
        aggregate_version: Option<i64>,
        body: Vec<u8>,
    ) -> Self {
        let name = match aggregate_version {
            Some(version) => format!("{subject}#{version}"),
            None => subject.clone(),
        };
        let id = derived_id(&cause.id, &name);
        Self { id, subject, message_type, key: key.to_owned(), body, aggregate_version, cause, timing: Timing::Now }
    }
}

/// Derives an id from another id and a name; equal inputs yield equal ids.
///
/// The result is a UUID version 8 (RFC 9562, section 5.8). Its first 48 bits are those of `from`: a time in
/// milliseconds if that is of version 7, or derived from one. The other bits are those of the name-based version 5. So
/// the ids of a flow are adjacent in an index, and those of later flows follow them (ADR 22).
#[must_use]
pub fn derived_id(from: &Uuid, name: &str) -> Uuid {
    let mut bytes = Uuid::new_v5(from, name.as_bytes()).into_bytes();
    bytes[..6].copy_from_slice(&from.as_bytes()[..6]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The attributes of an outgoing message; see the [module](self) for their headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// The id of the message.
    pub id: Uuid,
    /// The type, `<context>.<name>.v<version>`.
    pub message_type: &'a str,
    /// The producer, `/<service>`.
    pub source: &'a str,
    /// The business id of the message.
    pub key: &'a str,
    /// When the message is created; in UTC a year from 0 to 9999.
    pub time: OffsetDateTime,
    /// The id of the message that began the flow.
    pub correlation_id: Uuid,
    /// The id of the message that caused this one.
    pub causation_id: Option<Uuid>,
    /// The version of the aggregate after this event.
    pub aggregate_version: Option<i64>,
    /// The W3C trace context, if the flow has one.
    pub trace_parent: Option<&'a str>,
    /// On whose behalf the flow runs.
    pub auth: Option<&'a Auth>,
}

impl Attributes<'_> {
    /// Returns the headers as pairs, in a good order for the `nats` CLI.
    #[must_use]
    pub fn headers(&self) -> Vec<Header> {
        let id = self.id.to_string();
        let mut headers = vec![
            (SPEC_VERSION, "1.0".to_owned()),
            (TYPE, self.message_type.to_owned()),
            (SOURCE, self.source.to_owned()),
            (SUBJECT, self.key.to_owned()),
            (ID, id.clone()),
            (TIME, rfc3339(self.time)),
            (CORRELATION_ID, self.correlation_id.to_string()),
            (NATS_MESSAGE_ID, id),
        ];
        if let Some(id) = self.causation_id {
            headers.push((CAUSATION_ID, id.to_string()));
        }
        if let Some(version) = self.aggregate_version {
            headers.push((AGGREGATE_VERSION, version.to_string()));
        }
        if let Some(trace_parent) = self.trace_parent {
            headers.push((TRACE_PARENT, trace_parent.to_owned()));
        }
        if let Some(auth) = self.auth {
            headers.push((AUTH_TYPE, auth.kind.as_str().to_owned()));
            headers.extend(auth.id.as_ref().map(|id| (AUTH_ID, id.to_string())));
        }
        headers.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect()
    }
}

/// Converts pairs into the headers of a message.
pub(crate) fn header_map(headers: &[Header]) -> HeaderMap {
    headers.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
        match name {
            Cow::Borrowed(name) => map.append(HeaderName::from_static(name), value.as_str()),
            Cow::Owned(name) => map.append(name.as_str(), value.as_str()),
        }
        map
    })
}

/// Formats a time as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(time: OffsetDateTime) -> String {
    // Fails only for years outside 0 to 9999, which no clock shows and no decoded message has.
    let utc = time.checked_to_offset(UtcOffset::UTC);
    utc.and_then(|utc| utc.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Returns a time in milliseconds since 1970, as the tables store it.
#[must_use]
pub fn unix_millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// Converts milliseconds since 1970 back, as returned by [`unix_millis`].
#[must_use]
pub fn from_unix_millis(millis: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Why a delivery is not a valid message.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It cannot be decoded.
    #[error("{0}")]
    Undecodable(String),
    /// Its source is not the producer of its subject.
    #[error("{0}")]
    SourceMismatch(String),
    /// Its version is newer than those that the consumer knows.
    #[error(transparent)]
    UnknownVersion(UnknownVersion),
    /// It may have been handled before, longer ago than the inbox remembers.
    #[error("{0}")]
    DedupWindowExpired(String),
}

/// Checks a delivery's attributes against its subject and decodes its body.
///
/// # Errors
///
/// [`Malformed`], with the violation as its text; never [`Malformed::DedupWindowExpired`].
pub fn decode<T: Messages>(
    subject: &str,
    headers: Option<&HeaderMap>,
    body: &[u8],
) -> Result<Envelope<T>, Malformed> {
    let undecodable = |why: String| Malformed::Undecodable(why);
    let headers = headers.ok_or_else(|| undecodable("it has no headers".to_owned()))?;
    let required = |name: &str| {
        headers.get(name).map(|v| v.as_str()).ok_or_else(|| undecodable(format!("the header {name} is missing")))
    };
    let optional = |name: &str| headers.get(name).map(|v| v.as_str());
    let uuid = |name: &str, text: &str| {
        Uuid::parse_str(text).map_err(|_| undecodable(format!("the header {name} is not a valid UUID: {text:?}")))
    };

    let message_type = required(TYPE)?;
    let source = required(SOURCE)?;
    let key = required(SUBJECT)?;
    check_subject(subject, message_type, source, key, T::MESSAGES)?;

    let id = uuid(ID, required(ID)?)?;
    let time = OffsetDateTime::parse(required(TIME)?, &Rfc3339)
        .map_err(|error| undecodable(format!("the header {TIME} is not an RFC 3339 time: {error}")))?;
    // So that the time can be formatted again.
    let time = time
        .checked_to_offset(UtcOffset::UTC)
        .filter(|time| (0..=9999).contains(&time.year()))
        .ok_or_else(|| undecodable(format!("the header {TIME} has no year from 0 to 9999 in UTC")))?;
    let aggregate_version = optional(AGGREGATE_VERSION)
        .map(|text| {
            text.parse()
                .map_err(|_| undecodable(format!("the header {AGGREGATE_VERSION} is not a number: {text:?}")))
        })
        .transpose()?;
    Ok(Envelope {
        id,
        correlation_id: optional(CORRELATION_ID).map_or(Ok(id), |text| uuid(CORRELATION_ID, text))?,
        causation_id: optional(CAUSATION_ID).map(|text| uuid(CAUSATION_ID, text)).transpose()?,
        aggregate_version,
        time,
        // All messages caused by this one inherit it: an invalid trace context is dropped here.
        trace_parent: optional(TRACE_PARENT).filter(|text| trace_parent::parse(text).is_some()).map(str::to_owned),
        auth: optional(AUTH_TYPE).and_then(|kind| Auth::parse(kind, optional(AUTH_ID))),
        payload: T::decode(message_type, body).map_err(|error| unreadable::<T>(&error, message_type))?,
        message_type: message_type.to_owned(),
        source: source.to_owned(),
        key: key.to_owned(),
    })
}

/// Tells a version that is too new from a message that can never be read.
fn unreadable<T: Messages>(error: &DecodeError, message_type: &str) -> Malformed {
    match (error, UnknownVersion::of::<T>(message_type)) {
        (DecodeError::UnknownType(_), Some(unknown)) => Malformed::UnknownVersion(unknown),
        _ => Malformed::Undecodable(error.to_string()),
    }
}

/// Returns the declared producer of a message: of its version, or else of its newest version, or else of another message
/// of its context and kind. `None` if the set has no message of that context and kind.
///
/// A permission on subjects does not prove who wrote a message (a publisher can name any subject as its reply), so every
/// envelope is checked.
fn producer(
    messages: &[MessageInfo],
    message_type: &str,
    context: &str,
    kind: &str,
    name: &str,
) -> Option<&'static str> {
    let of_context = |info: &&MessageInfo| info.context == context && info.kind.as_str() == kind;
    let candidates = || messages.iter().filter(of_context);
    let same_type = candidates().flat_map(MessageInfo::versions).find(|info| info.message_type == message_type);
    let same_name = || candidates().find(|info| info.name == name);
    same_type.or_else(same_name).or_else(|| candidates().next()).map(|info| info.producer)
}

fn check_subject(
    subject: &str,
    message_type: &str,
    source: &str,
    key: &str,
    messages: &[MessageInfo],
) -> Result<(), Malformed> {
    let mut tokens = subject.split('.');
    let (Some(context), Some(kind), Some(name), Some(last), None) =
        (tokens.next(), tokens.next(), tokens.next(), tokens.next(), tokens.next())
    else {
        return Err(Malformed::Undecodable(format!("{subject} is not <context>.<kind>.<name>.<key>")));
    };
    match producer(messages, message_type, context, kind, name) {
        Some(owner) if source.strip_prefix('/') == Some(owner) => {}
        Some(owner) => {
            return Err(Malformed::SourceMismatch(format!(
                "{subject} belongs to /{owner}, but its source is {source}"
            )));
        }
        None => return Err(Malformed::SourceMismatch(format!("the service consumes no {context}.{kind}"))),
    }
    let typed = match messages.iter().find(|info| info.message_type == message_type) {
        Some(info) => (info.context, info.kind.as_str(), info.name) == (context, kind, name),
        None => message_type
            .strip_prefix(context)
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with(".v")),
    };
    if !typed {
        return Err(Malformed::SourceMismatch(format!("{subject} is not a subject of the type {message_type}")));
    }
    if last != key {
        return Err(Malformed::SourceMismatch(format!("{subject} does not end in the key {key}")));
    }
    Ok(())
}
