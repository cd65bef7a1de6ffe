//! Atomic batches: many messages of one stream, stored all or none, and forced to the disk once.
//!
//! Where the server syncs before it acknowledges (`sync_interval: always`), a message costs a sync and a batch costs a
//! few, whatever its size. Without that, a batch costs more than its messages one by one. (NATS, ADR-50.)

use async_nats::client::PublishError;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Client, HeaderMap, Message, StatusCode};
use bytes::Bytes;
use uuid::Uuid;

/// How many messages make a batch worth it.
pub(crate) const MIN_BATCH: usize = 20;
/// The most messages in a batch; nats-server takes 1000.
pub(crate) const MAX_BATCH: usize = 1000;

/// A message, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Ready {
    /// Sends it alone; its acknowledgement comes to `reply`.
    pub(crate) async fn send(self, client: &Client, reply: String) -> Result<(), PublishError> {
        client.publish_with_reply_and_headers(self.subject, reply, self.headers, self.body).await
    }
}

/// Sends all but the last of messages that make one batch, of [`MAX_BATCH`] at most, and returns the last one: whoever
/// sends it commits the batch, and what answers it is the acknowledgement of all.
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
    /// The stream says why.
    #[error("{0}")]
    Stream(#[from] async_nats::jetstream::Error),
    /// There is no such stream, or it does not answer as one.
    #[error("no stream takes it")]
    NoStream,
}

impl Refusal {
    /// What JetStream calls it.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Stream(error) => Some(error.error_code()),
            Self::NoStream => None,
        }
    }
}

/// Reads an acknowledgement.
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
