//! Reads a stream again without a consumer: a service fills a copy of other services' events this way.
//!
//! Services may not create consumers, and the position of their durable consumer belongs to their state. So a replay
//! reads [directly](crate::broker::direct). It checks envelopes as a consumer does.

use anyhow::bail;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::State;

pub use crate::broker::direct::last_sequence;
use crate::broker::direct::{Reader, state};
use crate::wire::envelope::{self, Envelope};
use crate::wire::message::Messages;

/// Checks that a stream still has all messages from a sequence on. Check again after reading: messages may be deleted
/// meanwhile.
///
/// # Errors
///
/// If the stream lacks some of them, or its info cannot be read.
pub async fn check_complete(js: &Context, stream: &str, from: u64) -> anyhow::Result<()> {
    match missing(&state(js, stream).await?, from) {
        Some(missing) => bail!("stream {stream} is incomplete: {missing}"),
        None => Ok(()),
    }
}

/// Describes the messages that a stream lacks from a sequence on. For single deleted messages the server reports the
/// number and not the sequences: they count if the whole stream is needed.
fn missing(state: &State, from: u64) -> Option<String> {
    let (first, deleted) = (state.first_sequence, state.deleted_count.unwrap_or(0));
    if first > from {
        return Some(format!("it has deleted its messages {from} to {}", first - 1));
    }
    (deleted > 0 && first == from).then(|| format!("{deleted} of its messages were deleted"))
}

/// A replay of a stream.
pub struct Replay {
    reader: Reader,
    skipped: u64,
}

impl Replay {
    /// Starts at a sequence (1: the first message of the stream) and ends at the current last message.
    ///
    /// # Errors
    ///
    /// If the stream's info cannot be read.
    pub async fn start(js: &Context, stream: &str, filter: &str, from: u64) -> anyhow::Result<Self> {
        Ok(Self { reader: Reader::start(js, stream, filter, from).await?, skipped: 0 })
    }

    /// Returns the number of messages that were left out because a consumer would dead-letter them.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the next messages, in the order of the stream; `None` if all have been read.
    ///
    /// # Errors
    ///
    /// Those of [`Reader::next_batch`].
    pub async fn next_batch<T: Messages>(&mut self) -> anyhow::Result<Option<Vec<Envelope<T>>>> {
        let Some(messages) = self.reader.next_batch().await? else { return Ok(None) };
        let mut envelopes = Vec::with_capacity(messages.len());
        for message in &messages {
            match envelope::decode(&message.subject, Some(&message.headers), &message.body) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stream_lacks_the_messages_it_deleted_after_the_start() {
        let state = |first: u64, deleted: u64| -> State {
            let time = "2026-11-27T00:00:00Z";
            serde_json::from_value(json!({
                "messages": 10, "bytes": 10, "first_seq": first, "first_ts": time, "last_seq": 20, "last_ts": time,
                "consumer_count": 0, "num_deleted": deleted
            }))
            .unwrap()
        };
        assert_eq!(missing(&state(1, 0), 1), None);
        // The first sequence of an empty stream is greater than its last.
        assert_eq!(missing(&state(21, 0), 21), None);
        assert_eq!(missing(&state(0, 0), 1), None);
        assert_eq!(missing(&state(5, 0), 1).unwrap(), "it has deleted its messages 1 to 4");
        assert_eq!(missing(&state(1, 3), 1).unwrap(), "3 of its messages were deleted");
        assert_eq!(missing(&state(1, 3), 12), None);
    }
}
