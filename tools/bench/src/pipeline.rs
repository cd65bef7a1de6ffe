//! Pipelined publishing: acknowledgements arrive on one subject and are counted.
//!
//! It costs the client less than one future per message, so that a measurement of the broker is not limited by it.

use std::collections::VecDeque;

use anyhow::{Context, bail};
use async_nats::{Client, Subscriber};
use futures::StreamExt;
use serde::Deserialize;
use uuid::Uuid;

use crate::orders::Outbound;

/// The maximum size of an atomic batch.
pub const MAX_BATCH: usize = 1000;
/// The maximum number of atomic batches in flight; messages that arrive meanwhile form the next one.
const MAX_GROUPS: usize = 2;

/// A pipeline of messages to streams.
pub struct Pipeline {
    client: Client,
    inbox: String,
    acknowledgements: Subscriber,
    atomic: bool,
    /// Messages for the next atomic batches.
    waiting: VecDeque<Outbound>,
    /// The number of unacknowledged atomic batches.
    groups: usize,
}

/// The acknowledgement of a stream.
#[derive(Debug, Deserialize)]
struct PubAck {
    error: Option<serde_json::Value>,
    /// The number of messages of an atomic batch.
    count: Option<u64>,
}

impl Pipeline {
    /// Opens a pipeline, with acknowledgements below the inbox prefix of the connection's user.
    ///
    /// # Errors
    ///
    /// If the connection is closed.
    pub async fn open(client: &Client, atomic: bool) -> anyhow::Result<Self> {
        let inbox = client.new_inbox();
        let acknowledgements = client.subscribe(inbox.clone()).await?;
        let waiting = VecDeque::new();
        Ok(Self { client: client.clone(), inbox, acknowledgements, atomic, waiting, groups: 0 })
    }

    /// Sends messages, all to one stream; with atomic batches see [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// If the connection is closed.
    pub async fn send(&mut self, messages: Vec<Outbound>) -> anyhow::Result<()> {
        if self.atomic {
            self.waiting.extend(messages);
            return self.flush().await;
        }
        for Outbound { subject, headers, body } in messages {
            self.client.publish_with_reply_and_headers(subject, self.inbox.clone(), headers, body).await?;
        }
        Ok(())
    }

    /// Sends the waiting messages as atomic batches, unless two are in flight. A sync costs the same for one message as
    /// for many, so messages that arrive meanwhile share the next batch.
    ///
    /// # Errors
    ///
    /// If the connection is closed.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        while self.groups < MAX_GROUPS && !self.waiting.is_empty() {
            let batch = self.waiting.drain(..self.waiting.len().min(MAX_BATCH)).collect();
            self.groups += 1;
            self.send_atomically(batch).await?;
        }
        Ok(())
    }

    async fn send_atomically(&self, batch: Vec<Outbound>) -> anyhow::Result<()> {
        let id = Uuid::new_v4().simple().to_string();
        let last = batch.len();
        for (number, Outbound { subject, mut headers, body }) in (1..).zip(batch) {
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", number.to_string());
            if number == last {
                headers.insert("Nats-Batch-Commit", "1");
                self.client.publish_with_reply_and_headers(subject, self.inbox.clone(), headers, body).await?;
            } else {
                self.client.publish_with_headers(subject, headers, body).await?;
            }
        }
        Ok(())
    }

    /// Waits for acknowledgements, and returns the number of acknowledged messages; call [`flush`](Self::flush) next.
    ///
    /// # Errors
    ///
    /// If a stream refuses a message, or the connection is closed.
    pub async fn acknowledged(&mut self) -> anyhow::Result<u64> {
        let messages = self.acknowledgements.by_ref().ready_chunks(1024).next().await;
        let messages = messages.context("the connection is closed")?;
        self.groups = self.groups.saturating_sub(messages.len());
        messages.iter().map(|message| count(&message.payload)).sum()
    }
}

/// Returns the number of messages that an acknowledgement covers.
pub(crate) fn count(payload: &[u8]) -> anyhow::Result<u64> {
    let ack: PubAck = serde_json::from_slice(payload)
        .with_context(|| format!("reading the acknowledgement {:?}", String::from_utf8_lossy(payload)))?;
    if let Some(error) = ack.error {
        bail!("a stream refuses a message: {error}");
    }
    Ok(ack.count.unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_covers_one_message_or_a_batch() {
        assert_eq!(count(br#"{"stream":"EVENTS","seq":4}"#).unwrap(), 1);
        assert_eq!(count(br#"{"stream":"EVENTS","seq":4,"batch":"b","count":17}"#).unwrap(), 17);
        assert!(count(br#"{"error":{"code":503,"err_code":10077}}"#).is_err());
        assert!(count(b"").is_err());
    }
}
