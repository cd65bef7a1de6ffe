//! Dead letters: messages a service could not handle, with everything needed to see why and to try again.
//!
//! A dead letter travels through the outbox, so that it and the inbox mark commit together. Its body is the untouched
//! payload; the original headers stay, but for those that NATS acts upon; `Dead-Letter-` headers say what happened.
//! Its subject is `dead-letter.<service>.<reason>.<key>`.

use async_nats::HeaderMap;
use bytes::Bytes;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::envelope::{NATS_MESSAGE_ID, rfc3339};
use crate::outbox::OutboxRow;

/// Why the message could not be handled, one of [`Reason`]'s words.
pub const REASON: &str = "Dead-Letter-Reason";
/// The same in a sentence.
pub const DETAIL: &str = "Dead-Letter-Detail";
/// The stream the message came from.
pub const STREAM: &str = "Dead-Letter-Stream";
/// Its sequence in that stream.
pub const SEQUENCE: &str = "Dead-Letter-Sequence";
/// The subject it was published on.
pub const SUBJECT: &str = "Dead-Letter-Subject";
/// The service that gave up.
pub const CONSUMER: &str = "Dead-Letter-Consumer";
/// How many times it had been delivered.
pub const ATTEMPTS: &str = "Dead-Letter-Attempts";
/// When the service gave up, RFC 3339.
pub const TIME: &str = "Dead-Letter-Time";

/// Why a message became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It cannot be read.
    Undecodable,
    /// It was not said by whom its subject belongs to.
    Foreign,
    /// The handler says that it can never succeed.
    Rejected,
    /// It failed as often as it may.
    AttemptsExhausted,
}

impl Reason {
    /// Returns the word for it in headers and subjects.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Foreign => "foreign",
            Self::Rejected => "rejected",
            Self::AttemptsExhausted => "attempts-exhausted",
        }
    }
}

/// Characters of a key that the subject of a dead letter keeps; no key of a well-formed message is longer.
const LONGEST_KEY: usize = 64;

/// Where a message stood when it was given up.
pub(crate) struct Origin<'a> {
    pub(crate) service: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) sequence: u64,
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
    pub(crate) fn inbox_id(&self, reason: Reason) -> Uuid {
        let own = match reason {
            Reason::Undecodable | Reason::Foreign => None,
            Reason::Rejected | Reason::AttemptsExhausted => self
                .headers
                .and_then(|headers| headers.get(crate::envelope::ID))
                .and_then(|id| Uuid::parse_str(id.as_str()).ok()),
        };
        own.unwrap_or_else(|| {
            let place = format!("{}/{}/{}", self.stream, self.sequence, self.subject);
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

    /// Makes the outbox row of the dead letter.
    pub(crate) fn row(&self, reason: Reason, detail: &str, now: OffsetDateTime) -> OutboxRow {
        let id = Uuid::new_v5(&self.inbox_id(reason), format!("dead-letter/{}", self.service).as_bytes());
        let subject = format!("dead-letter.{}.{}.{}", self.service, reason.as_str(), self.key());
        let mut headers = vec![
            (REASON.to_owned(), reason.as_str().to_owned()),
            (DETAIL.to_owned(), one_line(detail)),
            (STREAM.to_owned(), self.stream.to_owned()),
            (SEQUENCE.to_owned(), self.sequence.to_string()),
            (SUBJECT.to_owned(), self.subject.to_owned()),
            (CONSUMER.to_owned(), self.service.to_owned()),
            (ATTEMPTS.to_owned(), self.attempts.to_string()),
            (TIME.to_owned(), rfc3339(now)),
            (NATS_MESSAGE_ID.to_owned(), id.to_string()),
        ];
        for (name, values) in self.headers.into_iter().flat_map(HeaderMap::iter) {
            // The server acts upon `Nats-` headers (expected sequences, roll-up, schedules): they must not act again.
            if !AsRef::<str>::as_ref(name).to_ascii_lowercase().starts_with("nats-") {
                headers.extend(values.iter().map(|value| (name.to_string(), value.as_str().to_owned())));
            }
        }
        OutboxRow::new(id, subject, headers, self.body.clone())
    }
}

/// A header is one line, and a bounded one.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect()
}
