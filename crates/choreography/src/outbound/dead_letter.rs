//! Dead letters: messages that a service could not handle, with the data needed to diagnose and redrive them.
//!
//! A dead letter is published through the outbox, so that it and the inbox row commit together. Its body is the
//! unchanged payload. It keeps the original headers, except those that NATS acts upon; `Dead-Letter-` headers describe
//! the failure. Its subject is `dead-letter.<service>.<reason>.<key>`.

use async_nats::HeaderMap;
use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::broker::clock;
use crate::broker::direct::Stored;
use crate::broker::limits::{self, MAX_HEADERS, RESERVE};
use crate::broker::topology;
use crate::outbound::outbox::OutboxRow;
use crate::state::delivery_issue;
use crate::telemetry::metrics;
use crate::wire::envelope::{self, Envelope, Header, Malformed, NATS_MESSAGE_ID, rfc3339, unix_millis};
use crate::wire::message::Messages;
pub use crate::wire::reason::Reason;

/// The stream of dead letters.
pub const STREAM_NAME: &str = topology::DEAD_LETTERS;
/// The first token of the subject of the record that an operator deleted a dead letter; the other tokens are those of
/// the dead letter.
pub const DELETED: &str = "dead-letter-deleted";

/// Why the message could not be handled: the text form of a [`Reason`].
pub const REASON: &str = "Dead-Letter-Reason";
/// The error's text.
pub const DETAIL: &str = "Dead-Letter-Detail";
/// The stream that delivered the message.
pub const STREAM: &str = "Dead-Letter-Stream";
/// Its sequence in that stream.
pub const SEQUENCE: &str = "Dead-Letter-Sequence";
/// When that stream stored it, RFC 3339: a recreated stream counts from 1 again.
pub const STORED_AT: &str = "Dead-Letter-Stored-At";
/// The subject on which it was published.
pub const SUBJECT: &str = "Dead-Letter-Subject";
/// The service that dead-lettered it.
pub const CONSUMER: &str = "Dead-Letter-Consumer";
/// How many attempts to handle it failed; 1 for a message that cannot be decoded, the number of deliveries for one of an
/// unknown version.
pub const ATTEMPTS: &str = "Dead-Letter-Attempts";
/// When the service dead-lettered it, RFC 3339.
pub const TIME: &str = "Dead-Letter-Time";
/// The outbox row that the service could not publish.
pub const OUTBOX_ROW: &str = "Dead-Letter-Outbox-Row";

/// The characters of a key that the subject of a dead letter keeps; no key of a well-formed message is longer.
const LONGEST_KEY: usize = 64;

/// The origin of a message that is dead-lettered or has a delivery issue.
pub(crate) struct Origin<'a> {
    pub(crate) service: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) sequence: u64,
    /// When the stream stored it; `None` if the dead letter does not record it.
    pub(crate) stored: Option<OffsetDateTime>,
    pub(crate) subject: &'a str,
    pub(crate) attempts: u64,
    pub(crate) headers: Option<&'a HeaderMap>,
    pub(crate) body: Bytes,
}

impl Origin<'_> {
    /// Returns the id under which the inbox records the message: its own if it has a valid one, otherwise an id derived
    /// from its position in the stream.
    ///
    /// The id of a message with a source mismatch is not trusted: otherwise any publisher could mark another's message
    /// as handled. Nor is the id of a message older than the dedup window used: its absence from the inbox proves
    /// nothing, and must not change.
    pub(crate) fn inbox_id(&self, reason: Reason) -> Uuid {
        let own = match reason {
            Reason::Undecodable | Reason::SourceMismatch | Reason::DedupWindowExpired | Reason::Unpublishable => {
                None
            }
            Reason::UnknownVersion | Reason::Rejected | Reason::MaxAttemptsExceeded => self
                .headers
                .and_then(|headers| headers.get(crate::wire::envelope::ID))
                .and_then(|id| Uuid::parse_str(id.as_str()).ok()),
        };
        own.unwrap_or_else(|| {
            let mut position = format!("{}/{}/{}", self.stream, self.sequence, self.subject);
            if let Some(stored) = self.stored {
                position = format!("{position}/{}", stored.unix_timestamp_nanos());
            }
            Uuid::new_v5(&Uuid::NAMESPACE_URL, position.as_bytes())
        })
    }

    /// Returns the last token of the subject, reduced to characters and a length that another subject can hold.
    ///
    /// Any publisher may end a subject in any characters, up to the line length of the protocol. PostgreSQL stores no
    /// NUL, and a line that is too long ends the connection: either would block the service.
    fn key(&self) -> String {
        let last = self.subject.rsplit('.').next().unwrap_or_default();
        last.chars().map(|c| if c.is_control() { '-' } else { c }).take(LONGEST_KEY).collect()
    }

    /// Creates the row for a dead-lettered message.
    pub(crate) fn delivery_issue(
        &self,
        reason: Reason,
        detail: &str,
        now: OffsetDateTime,
    ) -> delivery_issue::entity::Model {
        delivery_issue::entity::Model {
            dead_lettered_at: Some(unix_millis(now)),
            reason: Some(reason.as_str().to_owned()),
            detail: Some(one_line(detail)),
            ..self.plain_delivery_issue(self.inbox_id(reason), now)
        }
    }

    /// Creates the row for one more failure of the message.
    pub(crate) fn failure(
        &self,
        message_id: Uuid,
        detail: &str,
        now: OffsetDateTime,
    ) -> delivery_issue::entity::Model {
        delivery_issue::entity::Model {
            failures: 1,
            failed_at: Some(unix_millis(now)),
            detail: Some(one_line(detail)),
            ..self.plain_delivery_issue(message_id, now)
        }
    }

    /// Creates a row that only identifies the message.
    pub(crate) fn plain_delivery_issue(
        &self,
        message_id: Uuid,
        now: OffsetDateTime,
    ) -> delivery_issue::entity::Model {
        delivery_issue::entity::Model {
            message_id,
            key: self.key(),
            subject: one_line(self.subject),
            stream: self.stream.to_owned(),
            sequence: i64::try_from(self.sequence).unwrap_or(i64::MAX),
            failures: 0,
            failed_at: None,
            detail: None,
            duplicates: 0,
            duplicate_at: None,
            dead_lettered_at: None,
            reason: None,
            redriven_at: None,
            updated_at: unix_millis(now),
        }
    }

    /// Creates the outbox row of the dead letter. Headers of the message that do not fit are left out, the longest
    /// first: a dead letter must not be unpublishable itself.
    pub(crate) fn row(&self, reason: Reason, detail: &str, now: OffsetDateTime) -> OutboxRow {
        let id = Uuid::new_v5(&self.inbox_id(reason), format!("dead-letter/{}", self.service).as_bytes());
        let subject = format!("dead-letter.{}.{}.{}", self.service, reason.as_str(), self.key());
        let mut headers: Vec<Header> = vec![
            (REASON.into(), reason.as_str().to_owned()),
            (DETAIL.into(), one_line(detail)),
            (STREAM.into(), self.stream.to_owned()),
            (SEQUENCE.into(), self.sequence.to_string()),
            (SUBJECT.into(), self.subject.to_owned()),
            (CONSUMER.into(), self.service.to_owned()),
            (ATTEMPTS.into(), self.attempts.to_string()),
            (TIME.into(), rfc3339(now)),
            (NATS_MESSAGE_ID.into(), id.to_string()),
        ];
        headers.extend(self.stored.map(|stored| (STORED_AT.into(), rfc3339(stored))));
        let size = |(name, value): &Header| limits::header_size(name, value);
        let mut left = (MAX_HEADERS - RESERVE).saturating_sub(headers.iter().map(size).sum());
        let mut kept = self.kept_headers();
        kept.sort_by_key(size);
        headers.extend(kept.into_iter().take_while(|header| {
            let fits = size(header) <= left;
            left = left.saturating_sub(size(header));
            fits
        }));
        OutboxRow::new(id, subject, headers, self.body.clone())
    }

    /// Returns the headers of the message, except those that the server acts upon, `Nats-` (expected sequences,
    /// roll-up, schedules): they must not act again.
    fn kept_headers(&self) -> Vec<Header> {
        let kept = self
            .headers
            .into_iter()
            .flat_map(HeaderMap::iter)
            .filter(|(name, _)| !AsRef::<str>::as_ref(*name).to_ascii_lowercase().starts_with("nats-"));
        let each = kept.flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        each.map(|(name, value)| (name.to_string().into(), value.as_str().to_owned())).collect()
    }
}

/// Creates the dead letter of a message that its stream can never store; `None` for a dead letter.
pub(crate) fn of_unpublishable(service: &str, row: &OutboxRow, reason: &str) -> Option<OutboxRow> {
    if row.subject.starts_with("dead-letter.") {
        return None;
    }
    metrics::dead_lettered(Reason::Unpublishable);
    let headers = row.header_map();
    let origin = Origin {
        service,
        stream: "outbox",
        sequence: 0,
        stored: None,
        subject: &row.subject,
        attempts: 1,
        headers: Some(&headers),
        body: row.body.clone(),
    };
    let mut dead_letter = origin.row(Reason::Unpublishable, reason, clock::now());
    // A new id each time: a message that is redriven and refused again becomes another dead letter.
    dead_letter.message_id = Uuid::now_v7();
    dead_letter.headers.retain(|(name, _)| name != NATS_MESSAGE_ID);
    dead_letter.headers.push((NATS_MESSAGE_ID.into(), dead_letter.message_id.to_string()));
    dead_letter.headers.push((OUTBOX_ROW.into(), row.row_id.to_string()));
    Some(dead_letter)
}

/// A dead letter, read by the service that wrote it.
pub(crate) struct DeadLetter {
    stored: Stored,
    service: String,
    stream: String,
    sequence: u64,
    stored_at: Option<OffsetDateTime>,
    subject: String,
    reason: Reason,
}

impl DeadLetter {
    /// Parses a dead letter of `service`; `None` if it is not one.
    pub(crate) fn read(stored: Stored, service: &str) -> Option<Self> {
        let own = stored.subject.strip_prefix("dead-letter.")?.strip_prefix(service)?.starts_with('.');
        if !own || stored.header(CONSUMER)? != service {
            return None;
        }
        Some(Self {
            service: service.to_owned(),
            stream: stored.header(STREAM)?.to_owned(),
            sequence: stored.header(SEQUENCE)?.parse().ok()?,
            stored_at: stored.header(STORED_AT).and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok()),
            subject: stored.header(SUBJECT)?.to_owned(),
            reason: Reason::parse(stored.header(REASON)?)?,
            stored,
        })
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            service: &self.service,
            stream: &self.stream,
            sequence: self.sequence,
            stored: self.stored_at,
            subject: &self.subject,
            attempts: 0,
            headers: Some(&self.stored.headers),
            body: self.stored.body.clone(),
        }
    }

    /// Returns whether the service could not decide whether it had handled the message.
    pub(crate) fn is_dedup_window_expired(&self) -> bool {
        self.reason == Reason::DedupWindowExpired
    }

    /// Returns the outbox row that could not be published, if the dead letter is of that kind.
    pub(crate) fn outbox_row(&self) -> Option<Uuid> {
        let row = self.stored.header(OUTBOX_ROW).filter(|_| self.reason == Reason::Unpublishable)?;
        Uuid::parse_str(row).ok()
    }

    /// Returns the id under which the message was dead-lettered.
    pub(crate) fn inbox_id(&self) -> Uuid {
        self.origin().inbox_id(self.reason)
    }

    /// Decodes the message as its consumer does.
    pub(crate) fn decode<T: Messages>(&self) -> Result<Envelope<T>, Malformed> {
        envelope::decode(&self.subject, Some(&self.stored.headers), &self.stored.body)
    }

    /// Creates the row for a failure during a redrive.
    pub(crate) fn failure(&self, detail: &str) -> delivery_issue::entity::Model {
        self.origin().failure(self.inbox_id(), detail, clock::now())
    }

    /// Creates the row for a dead letter that was redriven by force, without a row of its own.
    pub(crate) fn forced(&self, message_id: Uuid, now: OffsetDateTime) -> delivery_issue::entity::Model {
        let dead_lettered = self.stored.header(TIME).and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
        delivery_issue::entity::Model {
            dead_lettered_at: Some(unix_millis(dead_lettered.unwrap_or(self.stored.time))),
            reason: Some(self.reason.as_str().to_owned()),
            detail: self.stored.header(DETAIL).map(one_line),
            redriven_at: Some(unix_millis(now)),
            ..self.origin().plain_delivery_issue(message_id, now)
        }
    }
}

/// Reduces a text to one line of at most 1000 characters, as a header requires.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect()
}
