//! Dead dead letters: messages a service could not handle, with everything needed to see why and to try again.
//!
//! A dead letter travels through the outbox, so that it and the inbox mark commit together. Its body is the untouched
//! payload; the original headers stay, but for those that NATS acts upon; `Dead-Letter-` headers say what happened.
//! Its subject is `dead-letter.<service>.<reason>.<key>`.

use async_nats::HeaderMap;
use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::clock;
use crate::direct::Stored;
use crate::envelope::{self, Decode, Envelope, Header, Malformed, NATS_MESSAGE_ID, Producer, rfc3339, unix_millis};
use crate::limits::{self, MAX_HEADERS, RESERVE};
use crate::outbox::OutboxRow;
use crate::{delivery_issue, metrics};

/// The stream that holds them.
pub const STREAM_NAME: &str = "DEAD_LETTERS";
/// The first token of the subject of a record that somebody discarded a dead letter; the other tokens are those of the
/// dead letter.
pub const DELETED: &str = "dead-letter-deleted";

/// Why the message could not be handled, one of [`Reason`]'s words.
pub const REASON: &str = "Dead-Letter-Reason";
/// The same in a sentence.
pub const DETAIL: &str = "Dead-Letter-Detail";
/// The stream the message came from.
pub const STREAM: &str = "Dead-Letter-Stream";
/// Its sequence in that stream.
pub const SEQUENCE: &str = "Dead-Letter-Sequence";
/// When that stream stored it, RFC 3339: a stream that was made anew counts from 1 again.
pub const STORED_AT: &str = "Dead-Letter-Stored-At";
/// The subject it was published on.
pub const SUBJECT: &str = "Dead-Letter-Subject";
/// The service that gave up.
pub const CONSUMER: &str = "Dead-Letter-Consumer";
/// How many attempts to handle it had failed; 1 for a message that cannot be read.
pub const ATTEMPTS: &str = "Dead-Letter-Attempts";
/// When the service gave up, RFC 3339.
pub const TIME: &str = "Dead-Letter-Time";
/// The row in the outbox of the service that could not publish it.
pub const OUTBOX_ROW: &str = "Dead-Letter-Outbox-Row";

/// Why a message became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It cannot be read.
    Undecodable,
    /// It was not said by whom its subject belongs to.
    SourceMismatch,
    /// The handler says that it can never succeed.
    Rejected,
    /// It failed as often as it may.
    MaxAttemptsExceeded,
    /// It was published again by a stream restore, and is older than the inbox remembers: it may have been handled.
    DedupWindowExpired,
    /// It was never delivered: its stream can never take it. The service that wrote it publishes it again if it is redriven.
    Unpublishable,
}

impl Reason {
    pub(crate) const ALL: [Self; 6] = [
        Self::Undecodable,
        Self::SourceMismatch,
        Self::Rejected,
        Self::MaxAttemptsExceeded,
        Self::DedupWindowExpired,
        Self::Unpublishable,
    ];

    /// Reads the word for it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Returns the word for it in headers and subjects.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::SourceMismatch => "source-mismatch",
            Self::Rejected => "rejected",
            Self::MaxAttemptsExceeded => "max-attempts-exceeded",
            Self::DedupWindowExpired => "dedup-window-expired",
            Self::Unpublishable => "unpublishable",
        }
    }
}

/// Characters of a key that the subject of a dead letter keeps; no key of a well-formed message is longer.
const LONGEST_KEY: usize = 64;

/// Where a message stood when it was dead-lettered.
pub(crate) struct Origin<'a> {
    pub(crate) service: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) sequence: u64,
    /// When the stream stored it; `None` of a dead letter that does not say it.
    pub(crate) stored: Option<OffsetDateTime>,
    pub(crate) subject: &'a str,
    pub(crate) attempts: u64,
    pub(crate) headers: Option<&'a HeaderMap>,
    pub(crate) body: Bytes,
}

impl Origin<'_> {
    /// Returns the id under which the inbox knows the message: its own, where it has one that can be read, and one
    /// derived from its place in the stream otherwise.
    ///
    /// An id that a foreign envelope claims is not believed: it would let anybody mark another's message as handled.
    /// Nor is that of a message which is too old: that it is not in the inbox tells nothing, and should go on doing so.
    pub(crate) fn inbox_id(&self, reason: Reason) -> Uuid {
        let own = match reason {
            Reason::Undecodable | Reason::SourceMismatch | Reason::DedupWindowExpired | Reason::Unpublishable => {
                None
            }
            Reason::Rejected | Reason::MaxAttemptsExceeded => self
                .headers
                .and_then(|headers| headers.get(crate::envelope::ID))
                .and_then(|id| Uuid::parse_str(id.as_str()).ok()),
        };
        own.unwrap_or_else(|| {
            let mut place = format!("{}/{}/{}", self.stream, self.sequence, self.subject);
            if let Some(stored) = self.stored {
                place = format!("{place}/{}", stored.unix_timestamp_nanos());
            }
            Uuid::new_v5(&Uuid::NAMESPACE_URL, place.as_bytes())
        })
    }

    /// Returns the last token of the subject, as far as it can be the last token of another one.
    ///
    /// Whoever may publish at all may end a subject in any characters and as many as fit into a line of the protocol.
    /// PostgreSQL stores no NUL, and a line that is too long ends the connection: either would block the service.
    fn key(&self) -> String {
        let last = self.subject.rsplit('.').next().unwrap_or_default();
        last.chars().map(|c| if c.is_control() { '-' } else { c }).take(LONGEST_KEY).collect()
    }

    /// Makes the row that remembers that the message was dead-lettered.
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

    /// Makes the row that remembers that the message failed once more.
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

    /// Makes a row that says nothing yet but which message it is about.
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

    /// Makes the outbox row of the dead letter. Headers of the message that do not fit beside its own are left out, the
    /// longest first: a dead letter must not be unpublishable itself.
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

    /// Returns the headers of the message but those that the server acts upon, `Nats-` (expected sequences, roll-up,
    /// schedules): they must not act again.
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

/// Makes the dead letter of a message that its stream can never take; none if it is itself a dead letter.
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
    // Another one each time: a message that is redriven and refused again is a dead letter again.
    dead_letter.message_id = Uuid::now_v7();
    dead_letter.headers.retain(|(name, _)| name != NATS_MESSAGE_ID);
    dead_letter.headers.push((NATS_MESSAGE_ID.into(), dead_letter.message_id.to_string()));
    dead_letter.headers.push((OUTBOX_ROW.into(), row.row_id.to_string()));
    Some(dead_letter)
}

/// A dead letter read back by the service that wrote it.
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
    /// Reads a dead letter of `service`; `None` where it is not one.
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

    /// Returns whether the service could not know if it had handled the message.
    pub(crate) fn is_dedup_window_expired(&self) -> bool {
        self.reason == Reason::DedupWindowExpired
    }

    /// Returns the row of the outbox that could not be published, if that is what it is about.
    pub(crate) fn outbox_row(&self) -> Option<Uuid> {
        let row = self.stored.header(OUTBOX_ROW).filter(|_| self.reason == Reason::Unpublishable)?;
        Uuid::parse_str(row).ok()
    }

    /// Returns the id under which the message was dead-lettered.
    pub(crate) fn inbox_id(&self) -> Uuid {
        self.origin().inbox_id(self.reason)
    }

    /// Reads the message as its consumer does.
    pub(crate) fn decode<T: Decode>(&self, producer: Producer) -> Result<Envelope<T>, Malformed> {
        envelope::decode(&self.subject, Some(&self.stored.headers), &self.stored.body, producer)
    }

    /// Makes the row that remembers that the message failed when it was redriven.
    pub(crate) fn failure(&self, detail: &str) -> delivery_issue::entity::Model {
        self.origin().failure(self.inbox_id(), detail, clock::now())
    }

    /// Makes the row that remembers that the dead letter was handled without the service knowing of it.
    pub(crate) fn forced(&self, mark: Uuid, now: OffsetDateTime) -> delivery_issue::entity::Model {
        let dead_lettered = self.stored.header(TIME).and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
        delivery_issue::entity::Model {
            dead_lettered_at: Some(unix_millis(dead_lettered.unwrap_or(self.stored.time))),
            reason: Some(self.reason.as_str().to_owned()),
            detail: self.stored.header(DETAIL).map(one_line),
            redriven_at: Some(unix_millis(now)),
            ..self.origin().plain_delivery_issue(mark, now)
        }
    }
}

/// A header is one line, and a bounded one.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect()
}
