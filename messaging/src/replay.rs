//! A stream read again, past every consumer: how a service fills a copy of what others have said.
//!
//! Services may not make consumers, and their durable one stands where their state stands. So this reads
//! [directly](crate::direct). Envelopes are checked as those of a consumer are.

use async_nats::jetstream::Context;

use crate::direct::Reader;
pub use crate::direct::last_sequence;
use crate::envelope::{self, Decode, Envelope, Speaker};

/// A stream being read again.
pub struct Replay {
    reader: Reader,
    speaker: Speaker,
    skipped: u64,
}

impl Replay {
    /// Begins to read the messages on `filter` from a sequence on (1: whatever the stream has) to what is last now.
    ///
    /// # Errors
    ///
    /// Where the stream cannot be looked at.
    pub async fn start(
        js: &Context,
        stream: &str,
        filter: &str,
        from: u64,
        speaker: Speaker,
    ) -> anyhow::Result<Self> {
        Ok(Self { reader: Reader::start(js, stream, filter, from).await?, speaker, skipped: 0 })
    }

    /// Returns how many messages were left out because a consumer would have made dead letters of them.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the next messages, in the order of the stream; none where all have been read.
    ///
    /// # Errors
    ///
    /// Those of [`Reader::next_batch`].
    pub async fn next_batch<T: Decode>(&mut self) -> anyhow::Result<Option<Vec<Envelope<T>>>> {
        let Some(messages) = self.reader.next_batch().await? else { return Ok(None) };
        let mut envelopes = Vec::with_capacity(messages.len());
        for message in &messages {
            match envelope::decode(&message.subject, Some(&message.headers), &message.body, self.speaker) {
                Ok(envelope) => envelopes.push(envelope),
                Err(malformed) => {
                    self.skipped += 1;
                    tracing::warn!(subject = message.subject, %malformed, "a message is left out of the replay");
                }
            }
        }
        Ok(Some(envelopes))
    }
}
