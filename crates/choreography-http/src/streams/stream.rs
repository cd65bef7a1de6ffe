//! The state of one stream between polls: unconsumed, lost, and soon expiring messages.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::{consumer, stream};
use choreography::position::{Loss, Losses, Observed, Position};
use choreography::{clock, metrics};
use time::OffsetDateTime;

use super::ledger::Ledger;

/// The state of one consumer between polls.
#[derive(Debug, Default)]
struct Follower {
    position: Position,
    outstanding: u64,
    /// Whether messages wait and the position has not moved since the last poll.
    stuck: bool,
    /// The oldest waiting message, with the time it was stored.
    oldest: Option<(u64, OffsetDateTime)>,
}

/// The state of one stream between polls.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    ledger: Ledger,
    followers: BTreeMap<String, Follower>,
    losses: Losses,
}

/// The load of a stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taken {
    /// Bytes that at least one consumer has not consumed.
    pub(crate) unconsumed: u64,
    /// Bytes of events that may follow from the unconsumed messages.
    pub(crate) follow_up: u64,
}

impl Followed {
    /// Updates the state with the stream and its durable consumers.
    pub(crate) fn observe(
        &mut self,
        info: &stream::Info,
        consumers: &[consumer::Info],
        follow_up: fn(&str) -> u64,
    ) -> Taken {
        self.ledger.observe(&info.state);
        self.followers.retain(|name, _| consumers.iter().any(|consumer| consumer.name == *name));
        let mut taken = Taken::default();
        for consumer in consumers {
            // The service reports a gap that the gateway finds at its first poll: it may be older than the gateway.
            let is_new = !self.followers.contains_key(&consumer.name);
            let follower = self.followers.entry(consumer.name.clone()).or_default();
            let before = follower.position.consumed();
            let observed = Observed::of(info, consumer);
            if let Some(loss) = follower.position.observe(observed).filter(|loss| !(loss.possible && is_new)) {
                report(&mut self.losses, &info.config.name, &consumer.name, &loss);
            }
            follower.outstanding = observed.outstanding();
            let consumed = follower.position.consumed();
            follower.stuck = follower.outstanding > 0 && consumed == before;
            let bytes = self.ledger.bytes_after(consumed);
            let messages = info.state.last_sequence.saturating_sub(consumed).max(1);
            // The consumer reads only a part of the messages after its position.
            let own = u128::from(bytes) * u128::from(follower.outstanding) / u128::from(messages);
            let own = u64::try_from(own).unwrap_or(bytes).min(bytes);
            if follower.outstanding > 0 {
                taken.unconsumed = taken.unconsumed.max(bytes);
                taken.follow_up += own.saturating_mul(follow_up(&consumer.name));
            }
        }
        taken
    }

    /// Returns the losses, the newest last.
    pub(crate) fn losses(&self) -> impl Iterator<Item = String> {
        self.losses.texts()
    }

    /// Reads the storage time of each consumer's oldest waiting message, if it is unknown.
    pub(crate) async fn read_ages(&mut self, stream: &stream::Stream, first: u64) {
        for follower in self.followers.values_mut() {
            let oldest = (follower.position.consumed() + 1).max(first);
            if !follower.stuck {
                follower.oldest = None;
            } else if follower.oldest.is_none_or(|(sequence, _)| sequence != oldest) {
                // The message may just have been dropped; the next poll reads again.
                let message = stream.direct_get(oldest).await;
                follower.oldest = message.ok().map(|message| (oldest, message.time));
            }
        }
    }

    /// Describes the consumer whose messages have waited for more than half of the stream's maximum age.
    pub(crate) fn too_old(&self, max_age: Duration) -> Option<String> {
        let now = clock::now();
        let oldest =
            self.followers.iter().filter_map(|(name, follower)| Some((follower.oldest?.1, name, follower)));
        let (time, name, follower) = oldest.min_by_key(|(time, ..)| *time)?;
        let age = Duration::try_from(now - time).unwrap_or_default();
        (!max_age.is_zero() && age > max_age / 2).then(|| {
            let (age, keeps, waiting) = (age.as_secs(), max_age.as_secs(), follower.outstanding);
            format!("{waiting} messages wait for {name}, the oldest for {age} s, and the stream keeps them for {keeps} s")
        })
    }
}

fn report(losses: &mut Losses, stream: &str, consumer: &str, loss: &Loss) {
    metrics::lost(stream, consumer, loss.messages, loss.possible);
    if losses.add(&format!("{consumer} of {stream}"), loss) {
        tracing::error!(stream, consumer, %loss, "a stream dropped messages that may be unconsumed");
    }
}
