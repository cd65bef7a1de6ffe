//! Publishing a command from outside a transaction: what a gateway does.

use std::error::Error as _;

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::envelope::Attributes;

/// A command to publish. Publishing it again with the same id is safe: the stream drops it within its duplicate
/// window, and the inbox of whoever handles it afterwards.
#[derive(Debug, Clone)]
pub struct Command {
    /// The id, derived from what the caller gave, so that a retry has the same.
    pub id: Uuid,
    /// The NATS subject.
    pub subject: String,
    /// `<context>.<name>.v<version>`.
    pub message_type: &'static str,
    /// The business id it is about.
    pub key: String,
    /// The body, JSON.
    pub body: Bytes,
    /// W3C trace context of the caller.
    pub trace_parent: Option<String>,
}

/// The stream has the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its place in the stream.
    pub sequence: u64,
    /// Whether the stream had it before.
    pub duplicate: bool,
}

/// Why a command was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The stream is away, full, or did not answer in time. It may have the message all the same: publish the same
    /// command again, later.
    #[error("the stream did not acknowledge the command: {0}")]
    Unavailable(String),
    /// The message is larger than the stream takes. Publishing it again cannot help.
    #[error("the command is larger than the stream takes: {0}")]
    TooLarge(String),
}

/// Publishes commands in the name of one source.
#[derive(Debug, Clone)]
pub struct Publisher {
    js: jetstream::Context,
    source: String,
}

impl Publisher {
    /// Makes a publisher for a program called `name`; the source of what it publishes is `/<name>`.
    #[must_use]
    pub fn new(js: jetstream::Context, name: &str) -> Self {
        Self { js, source: format!("/{name}") }
    }

    /// Publishes a command and waits for the stream's acknowledgement, 5 s at the most.
    ///
    /// # Errors
    ///
    /// [`PublishError`].
    pub async fn publish(&self, command: Command) -> Result<Published, PublishError> {
        let headers = Attributes {
            id: command.id,
            message_type: command.message_type,
            source: &self.source,
            key: &command.key,
            time: OffsetDateTime::now_utc(),
            correlation_id: command.id,
            causation_id: None,
            aggregate_version: None,
            trace_parent: command.trace_parent.as_deref(),
        }
        .headers();
        let headers = headers.into_iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.insert(name, value);
            map
        });
        let message = PublishMessage::build().headers(headers).payload(command.body);
        let acknowledgement = self.js.send_publish(command.subject, message).await.map_err(refused)?;
        let acknowledged = acknowledgement.await.map_err(refused)?;
        Ok(Published { sequence: acknowledged.sequence, duplicate: acknowledged.duplicate })
    }
}

/// Tells apart what a later try may mend.
fn refused(error: jetstream::context::PublishError) -> PublishError {
    let code = error
        .source()
        .and_then(|source| source.downcast_ref::<jetstream::Error>())
        .map(jetstream::Error::error_code);
    match (error.kind(), code) {
        (PublishErrorKind::MaxPayloadExceeded, _) | (_, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)) => {
            PublishError::TooLarge(error.to_string())
        }
        _ => PublishError::Unavailable(error.to_string()),
    }
}
