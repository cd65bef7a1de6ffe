//! Publishing without waiting: acknowledgements come back on one subject and are counted.
//!
//! That is less work for a client than a future for each, and it is what a measurement of the broker should cost.

use std::collections::VecDeque;

use anyhow::{Context, bail};
use async_nats::{Client, Subscriber};
use futures::StreamExt;
use serde::Deserialize;
use uuid::Uuid;

use crate::orders::Outbound;

/// The largest atomic batch.
pub const LARGEST_BATCH: usize = 1000;
/// Atomic batches under way; what comes meanwhile is the next one.
const GROUPS: usize = 2;

/// Messages on their way to streams.
pub struct Pipeline {
    client: Client,
    inbox: String,
    acknowledgements: Subscriber,
    atomic: bool,
    /// What waits for the next atomic batch.
    waiting: VecDeque<Outbound>,
    /// Atomic batches that are not acknowledged.
    groups: usize,
}

/// What a stream answers.
#[derive(Debug, Deserialize)]
struct Answer {
    error: Option<serde_json::Value>,
    /// How many messages of an atomic batch it has.
    count: Option<u64>,
}

impl Pipeline {
    /// Begins, with acknowledgements below the inbox prefix of the connection's user.
    ///
    /// # Errors
    ///
    /// Where the connection is closed.
    pub async fn open(client: &Client, atomic: bool) -> anyhow::Result<Self> {
        let inbox = client.new_inbox();
        let acknowledgements = client.subscribe(inbox.clone()).await?;
        let waiting = VecDeque::new();
        Ok(Self { client: client.clone(), inbox, acknowledgements, atomic, waiting, groups: 0 })
    }

    /// Sends messages, all to one stream: atomic batches as [`flush`](Self::flush) says.
    ///
    /// # Errors
    ///
    /// Where the connection is closed.
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

    /// Sends what waits for an atomic batch, unless enough are under way: a sync costs the same for one message as for
    /// many, so what comes during two of them shares the next.
    ///
    /// # Errors
    ///
    /// Where the connection is closed.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        while self.groups < GROUPS && !self.waiting.is_empty() {
            let batch = self.waiting.drain(..self.waiting.len().min(LARGEST_BATCH)).collect();
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

    /// Waits for acknowledgements and returns how many messages they are for; then there may be something to flush.
    ///
    /// # Errors
    ///
    /// Where a stream refuses a message, or the connection is closed.
    pub async fn acknowledged(&mut self) -> anyhow::Result<u64> {
        let messages = self.acknowledgements.by_ref().ready_chunks(1024).next().await;
        let messages = messages.context("the connection is closed")?;
        self.groups = self.groups.saturating_sub(messages.len());
        messages.iter().map(|message| count(&message.payload)).sum()
    }
}

/// Returns how many messages an answer acknowledges.
pub(crate) fn count(payload: &[u8]) -> anyhow::Result<u64> {
    let answer: Answer = serde_json::from_slice(payload)
        .with_context(|| format!("the answer to a publish: {:?}", String::from_utf8_lossy(payload)))?;
    if let Some(error) = answer.error {
        bail!("a stream refuses a message: {error}");
    }
    Ok(answer.count.unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stands_for_a_message_or_for_a_batch() {
        assert_eq!(count(br#"{"stream":"EVENTS","seq":4}"#).unwrap(), 1);
        assert_eq!(count(br#"{"stream":"EVENTS","seq":4,"batch":"b","count":17}"#).unwrap(), 17);
        assert!(count(br#"{"error":{"code":503,"err_code":10077}}"#).is_err());
        assert!(count(b"").is_err());
    }
}
