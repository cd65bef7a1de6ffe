//! Atomic batches: many messages of one stream, stored all or none, and synced to disk once.
//!
//! If the server syncs before it acknowledges (`sync_interval: always`), a message costs a sync and a batch costs a
//! few, whatever its size. Otherwise a batch costs more than its messages one by one. (NATS, ADR-50.)

use async_nats::client::PublishError;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Client, HeaderMap, Message, StatusCode};
use bytes::Bytes;
use uuid::Uuid;

/// The smallest number of messages that are published as a batch.
pub(crate) const MIN_BATCH: usize = 20;
/// The maximum number of messages per batch; nats-server accepts 1000.
pub(crate) const MAX_BATCH: usize = 1000;

/// A message, ready to be published.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Ready {
    /// Publishes the message alone; its acknowledgement arrives on `reply`.
    pub(crate) async fn send(self, client: &Client, reply: String) -> Result<(), PublishError> {
        client.publish_with_reply_and_headers(self.subject, reply, self.headers, self.body).await
    }
}

/// Publishes all but the last message of one batch, at most [`MAX_BATCH`], and returns the last one. Publishing that
/// one commits the batch, and its acknowledgement covers all messages.
pub(crate) async fn stage(client: &Client, messages: Vec<Ready>) -> Result<Option<Ready>, PublishError> {
    let batch = Uuid::new_v4().simple().to_string();
    let count = messages.len();
    for (place, mut message) in (1..).zip(messages) {
        message.headers.insert("Nats-Batch-Id", batch.as_str());
        message.headers.insert("Nats-Batch-Sequence", place.to_string());
        if place == count {
            message.headers.insert("Nats-Batch-Commit", "1");
            return Ok(Some(message));
        }
        client.publish_with_headers(message.subject, message.headers, message.body).await?;
    }
    Ok(None)
}

/// Why a message, or a batch, is not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The stream refused it, with a reason.
    #[error("{0}")]
    Stream(#[from] async_nats::jetstream::Error),
    /// There is no such stream, or the reply is not one of a stream.
    #[error("no stream accepts the message")]
    NoStream,
}

impl Refusal {
    /// Returns the error code of JetStream, if the stream refused it.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Stream(error) => Some(error.error_code()),
            Self::NoStream => None,
        }
    }
}

/// Parses an acknowledgement.
pub(crate) fn acknowledged(reply: &Message) -> Result<PublishAck, Refusal> {
    if reply.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Refusal::NoStream);
    }
    match serde_json::from_slice(&reply.payload) {
        Ok(Response::Ok(ack)) => Ok(ack),
        Ok(Response::Err { error }) => Err(Refusal::Stream(error)),
        Err(_) => Err(Refusal::NoStream),
    }
}
