//! Events as a projection reads them: from the stream, or from an event store.

use async_nats::jetstream;
use time::OffsetDateTime;

use crate::inbound::history::HistoricEvent;
use crate::projection::progress::{Place, Position};
use crate::wire::envelope::{self, AGGREGATE_VERSION, Envelope, Malformed, from_unix_millis, unix_millis};
use crate::wire::message::{DecodeError, MessageInfo, Messages};

/// A message of a context: one of a projection's set, or another event of the same context.
enum Known<M> {
    Message(M),
    Other,
}

impl<M: Messages> Messages for Known<M> {
    const MESSAGES: &'static [MessageInfo] = M::MESSAGES;

    /// Decodes the messages of the set. Another version of one of them is an error: it must not be skipped.
    fn decode(message_type: &str, body: &[u8]) -> Result<Self, DecodeError> {
        let is_known = M::MESSAGES.iter().any(|info| unversioned(info.message_type) == unversioned(message_type));
        if is_known { M::decode(message_type, body).map(Self::Message) } else { Ok(Self::Other) }
    }
}

/// Returns a message type without its version.
fn unversioned(message_type: &str) -> &str {
    message_type.rsplit_once(".v").map_or(message_type, |(name, _)| name)
}

/// What an entry contains.
#[derive(Debug)]
pub(crate) enum Content<M> {
    /// An event of the projection.
    Event(Box<Envelope<M>>),
    /// An event that the projection does not use, or a message that is not from the producer of its subject.
    Other,
    /// An event that cannot be read.
    Unreadable(String),
}

/// The version of an aggregate after an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) context: String,
    pub(crate) aggregate_id: String,
    pub(crate) number: i64,
}

/// A message in the order in which the projection reads it.
#[derive(Debug)]
pub(crate) struct Entry<M> {
    pub(crate) content: Content<M>,
    /// `None` if it is not recorded in an event store.
    pub(crate) version: Option<Version>,
    /// Where the projection is after it; `None` for an event that repairs a gap.
    pub(crate) place: Option<Place>,
    /// When it was stored or recorded, in milliseconds since 1970.
    pub(crate) stored_at: i64,
}

impl<M: Messages> Entry<M> {
    /// Reads a message of the stream. `event_stores` are the contexts whose versions count.
    pub(crate) fn of_stream(
        message: &jetstream::Message,
        stored: OffsetDateTime,
        sequence: u64,
        event_stores: &[&str],
    ) -> Self {
        let subject = message.subject.as_str();
        let context = subject.split('.').next().unwrap_or_default();
        let stored_at = unix_millis(stored);
        let entry = |content, version| Self {
            content,
            version,
            place: Some(Place::Stream(Position { sequence, stored_at })),
            stored_at,
        };
        let decoded = envelope::decode::<Known<M>>(subject, message.headers.as_ref(), &message.payload);
        let envelope = match decoded {
            Ok(envelope) => envelope,
            Err(Malformed::SourceMismatch(why)) => {
                tracing::error!(
                    subject,
                    sequence,
                    why,
                    "a projection skips a message that is not from the producer of its subject"
                );
                return entry(Content::Other, None);
            }
            Err(malformed) if event_stores.contains(&context) && !has_version(message) => {
                tracing::error!(
                    subject,
                    sequence,
                    why = %malformed,
                    "a projection skips a message that cannot be read and is in no history, because it has no version"
                );
                return entry(Content::Other, None);
            }
            Err(malformed) => {
                return entry(Content::Unreadable(format!("{subject} (sequence {sequence}): {malformed}")), None);
            }
        };
        let version = envelope
            .aggregate_version
            .filter(|_| event_stores.contains(&context))
            .map(|number| Version { context: context.to_owned(), aggregate_id: envelope.key.clone(), number });
        // Event stores record milliseconds: both sources of an event must yield equal rows.
        let time = from_unix_millis(unix_millis(envelope.time));
        entry(content(envelope, time), version)
    }

    /// Reads an event of the event store of a context.
    pub(crate) fn of_history(context: &str, event: HistoricEvent, place: Option<Place>) -> Self {
        let HistoricEvent { aggregate_id, version, message_type, recorded_at, .. } = event;
        let content = match Known::<M>::decode(&message_type, event.body.get().as_bytes()) {
            Ok(payload) => {
                let producer =
                    M::MESSAGES.iter().find(|info| info.context == context).map_or("", |info| info.producer);
                let time = from_unix_millis(recorded_at);
                let envelope = Envelope {
                    id: event.message_id,
                    message_type,
                    source: format!("/{producer}"),
                    key: aggregate_id.clone(),
                    time,
                    correlation_id: event.correlation_id,
                    causation_id: Some(event.causation_id),
                    aggregate_version: Some(version),
                    trace_parent: None,
                    auth: None,
                    payload,
                };
                content(envelope, time)
            }
            Err(error) => Content::Unreadable(format!("event {version} of {context} {aggregate_id}: {error}")),
        };
        let version = Version { context: context.to_owned(), aggregate_id, number: version };
        Self { content, version: Some(version), place, stored_at: recorded_at }
    }
}

/// Returns whether a message has the version of an aggregate, as each event of a history has.
fn has_version(message: &jetstream::Message) -> bool {
    message.headers.as_ref().is_some_and(|headers| headers.get(AGGREGATE_VERSION).is_some())
}

fn content<M>(envelope: Envelope<Known<M>>, time: OffsetDateTime) -> Content<M> {
    let Known::Message(payload) = envelope.payload else { return Content::Other };
    Content::Event(Box::new(Envelope {
        id: envelope.id,
        message_type: envelope.message_type,
        source: envelope.source,
        key: envelope.key,
        time,
        correlation_id: envelope.correlation_id,
        causation_id: envelope.causation_id,
        aggregate_version: envelope.aggregate_version,
        trace_parent: envelope.trace_parent,
        auth: envelope.auth,
        payload,
    }))
}
