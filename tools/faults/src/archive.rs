//! Copies the messages of the ring buffers before the streams discard them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream;
use choreography::direct::{self, Reader};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::recorded::Stored;

/// The streams that discard messages when they are full.
const RINGS: [&str; 2] = ["COMMANDS", "EVENTS"];
/// The time between two reads of a stream.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Copies the messages of the ring buffers as they arrive. Dropping it stops the copying.
#[derive(Debug)]
pub struct Archive {
    js: jetstream::Context,
    copies: Arc<Mutex<Copies>>,
    follower: JoinHandle<()>,
}

/// The copies and the positions of the copying.
#[derive(Debug, Default)]
struct Copies {
    messages: Vec<Stored>,
    /// The next sequence of each stream; absent before the first message, and after a loss.
    next: BTreeMap<&'static str, u64>,
    /// Streams that lose their messages on purpose, and are not read meanwhile.
    suspended: BTreeSet<&'static str>,
    /// The number of messages per stream that were deleted before they were copied.
    missed: BTreeMap<String, u64>,
}

impl Archive {
    /// Starts to copy. To be called before the first message, so that none is missing.
    #[must_use]
    pub fn begin(js: jetstream::Context) -> Self {
        let next = RINGS.into_iter().map(|name| (name, 1)).collect();
        let copies = Arc::new(Mutex::new(Copies { next, ..Copies::default() }));
        let follower = tokio::spawn(follow(js.clone(), copies.clone()));
        Self { js, copies, follower }
    }

    /// Stops copying a stream that is about to lose its messages on purpose.
    pub async fn suspend(&self, stream: &'static str) {
        self.copies.lock().await.suspended.insert(stream);
    }

    /// Continues with the messages that a stream has after a loss.
    pub async fn resume(&self, stream: &'static str) {
        let mut copies = self.copies.lock().await;
        if copies.suspended.remove(stream) {
            copies.next.remove(stream);
        }
    }

    /// Returns all messages copied so far, and the number of messages missed per stream.
    ///
    /// # Errors
    ///
    /// If a stream cannot be read.
    pub async fn take(&self) -> anyhow::Result<(Vec<Stored>, BTreeMap<String, u64>)> {
        let mut copies = self.copies.lock().await;
        for name in RINGS {
            copies.copy(&self.js, name).await?;
        }
        Ok((std::mem::take(&mut copies.messages), copies.missed.clone()))
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// Copies forever; failed reads are repeated.
async fn follow(js: jetstream::Context, copies: Arc<Mutex<Copies>>) {
    loop {
        for name in RINGS {
            if let Err(error) = copies.lock().await.copy(&js, name).await {
                tracing::debug!(%error, name, "cannot copy a stream");
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

impl Copies {
    /// Copies the new messages of a stream.
    async fn copy(&mut self, js: &jetstream::Context, name: &'static str) -> anyhow::Result<()> {
        if self.suspended.contains(name) {
            return Ok(());
        }
        // The sequences of a recreated stream start again at 1.
        let last = direct::last_sequence(js, name).await?;
        if self.next.get(name).is_some_and(|next| *next > last + 1) {
            self.next.remove(name);
        }
        let from = self.next.get(name).copied().unwrap_or(1);
        let mut reader = Reader::start(js, name, ">", from).await?;
        while let Some(batch) = reader.next_batch().await.with_context(|| format!("copying {name}"))? {
            for message in batch {
                self.add(name, message);
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &'static str, message: direct::Stored) {
        let missed = self.next.get(name).map_or(0, |next| message.sequence.saturating_sub(*next));
        *self.missed.entry(name.to_owned()).or_default() += missed;
        self.next.insert(name, message.sequence + 1);
        let headers = message.headers.iter();
        let headers =
            headers.filter_map(|(name, values)| Some((name.to_string(), values.first()?.to_string()))).collect();
        self.messages.push(Stored {
            stream: name.to_owned(),
            sequence: message.sequence,
            subject: message.subject,
            headers,
            body: serde_json::from_slice(&message.body).unwrap_or_default(),
        });
    }
}
