//! The position of a consumer in its stream, and messages that were lost to it.
//!
//! A stream with a size or age limit deletes messages whether or not they were consumed. The gap between a consumer's
//! position and the stream's first sequence is the only trace of a loss.

use std::fmt;

use async_nats::jetstream::{consumer, stream};

/// A consumer and its stream at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// When the stream and the consumer were created, in nanoseconds since 1970: recreated ones count from 1 again.
    pub generation: (i128, i128),
    /// The stream's first and last sequence.
    pub sequences: (u64, u64),
    /// The last delivered sequence. It moves past messages that were deleted undelivered.
    pub delivered: u64,
    /// The number of deliveries, redeliveries included.
    pub deliveries: u64,
    /// The sequence up to which all deliveries are acknowledged.
    pub ack_floor: u64,
    /// Messages not delivered yet.
    pub pending: u64,
    /// Messages delivered and not acknowledged.
    pub ack_pending: u64,
    /// Whether the stream has message schedules: it deletes those that were replaced, cancelled, or delivered.
    pub has_schedules: bool,
}

impl Observed {
    /// Combines the server's infos. The stream's must have been read before the consumer's.
    #[must_use]
    pub fn of(stream: &stream::Info, consumer: &consumer::Info) -> Self {
        Self {
            generation: (stream.created.unix_timestamp_nanos(), consumer.created.unix_timestamp_nanos()),
            sequences: (stream.state.first_sequence, stream.state.last_sequence),
            delivered: consumer.delivered.stream_sequence,
            deliveries: consumer.delivered.consumer_sequence,
            ack_floor: consumer.ack_floor.stream_sequence,
            pending: consumer.num_pending,
            ack_pending: consumer.num_ack_pending as u64,
            has_schedules: stream.config.allow_message_schedules,
        }
    }

    /// Returns the number of messages that the consumer has not acknowledged yet.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.pending + self.ack_pending
    }

    /// Returns the sequence up to which everything was delivered and acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        if self.ack_pending == 0 { self.delivered.max(self.ack_floor) } else { self.ack_floor }
    }

    /// Returns how many of the messages that are pending here are certainly lost at a later observation: neither
    /// delivered in between nor still in the stream.
    fn certainly_lost(&self, later: &Self) -> u64 {
        let delivered = later.deliveries.saturating_sub(self.deliveries);
        let still_there = later.pending.min((self.sequences.1 + 1).saturating_sub(later.sequences.0));
        self.pending.saturating_sub(delivered).saturating_sub(still_there)
    }
}

/// Messages that a stream deleted before their consumer had acknowledged them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The first and the last deleted sequence after the consumer's last known position.
    pub sequences: (u64, u64),
    /// The number of lost messages: a lower bound, or an upper bound if the loss is only possible.
    pub messages: u64,
    /// Whether the sequences may contain none of the consumer's messages, or only messages that it has acknowledged.
    pub possible: bool,
}

/// The remedy for a loss.
pub(crate) const REMEDY: &str =
    "events are republished from their producers' outboxes; lost commands must be sent again by their senders";

impl Loss {
    fn possible(sequences: (u64, u64)) -> Self {
        Self { sequences, messages: sequences.1 - sequences.0 + 1, possible: true }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequences: (first, last), messages, possible } = self;
        if *possible {
            write!(
                f,
                "sequences {first} to {last} were deleted, and which of them this consumer had read is unknown: "
            )?;
            write!(f, "at most {messages} messages are lost; {REMEDY}")
        } else {
            write!(
                f,
                "sequences {first} to {last} were deleted unconsumed, at least {messages} messages are lost; "
            )?;
            write!(f, "{REMEDY}")
        }
    }
}

/// The maximum number of losses that are listed.
const MAX_LOSSES: usize = 8;

/// The newest losses, by consumer. A loss that continues another is merged with it.
#[derive(Debug, Clone, Default)]
pub struct Losses(Vec<(String, Loss)>);

impl Losses {
    /// Adds a loss of a consumer; returns whether it is a new one.
    pub fn add(&mut self, consumer: &str, loss: &Loss) -> bool {
        let continued = self.0.iter_mut().find(|(of, earlier)| {
            of == consumer && earlier.possible == loss.possible && earlier.sequences.1 + 1 == loss.sequences.0
        });
        if let Some((_, earlier)) = continued {
            earlier.sequences.1 = loss.sequences.1;
            earlier.messages += loss.messages;
            return false;
        }
        self.0.push((consumer.to_owned(), loss.clone()));
        let excess = self.0.len().saturating_sub(MAX_LOSSES);
        self.0.drain(..excess);
        true
    }

    /// Returns each loss as a text, the newest last.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(consumer, loss)| format!("{consumer}: {loss}"))
    }
}

/// The position of one consumer over several observations.
#[derive(Debug, Clone, Default)]
pub struct Position {
    last: Option<Observed>,
    consumed: u64,
}

impl Position {
    /// Returns the sequence up to which everything is consumed.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Returns the last sequence that the stream had discarded before its consumer was created: the first observation
    /// of a consumer without deliveries.
    #[must_use]
    pub fn discarded_start(&self, observed: &Observed) -> Option<u64> {
        let is_first = self.last.is_none_or(|last| last.generation != observed.generation);
        let last = observed.sequences.0.saturating_sub(1);
        // The position of an older consumer without deliveries is lower: that one may have lost messages.
        (is_first && observed.deliveries == 0 && last > 0 && observed.delivered >= last).then_some(last)
    }

    /// Adds an observation, and returns the messages lost since the last one.
    ///
    /// A gap in a stream with schedules may be only schedules that were replaced, so there only a certain loss counts.
    pub fn observe(&mut self, observed: Observed) -> Option<Loss> {
        let before = self.last.replace(observed).filter(|last| last.generation == observed.generation);
        let position = self.consumed;
        let (first, last) = observed.sequences;
        // The consumed position never decreases, although the ack floor falls back when a message arrives.
        let consumed = before.map_or(0, |_| self.consumed).max(observed.acknowledged());
        // The ack floor does not move while no stored message matches the filter: then the whole stream counts as
        // consumed.
        self.consumed = if observed.outstanding() == 0 { last } else { consumed.max(first.saturating_sub(1)) };
        let possible = |sequences| (!observed.has_schedules).then(|| Loss::possible(sequences));
        let Some(before) = before else {
            return gap(consumed, first).and_then(possible);
        };
        // Not the current position: it moves past messages that were deleted undelivered.
        let sequences = gap(position, first)?;
        match before.certainly_lost(&observed) {
            0 => possible(sequences),
            messages => Some(Loss { sequences, messages, possible: false }),
        }
    }
}

/// Returns the first and the last sequence that are neither consumed nor in the stream.
fn gap(consumed: u64, first: u64) -> Option<(u64, u64)> {
    (first > consumed + 1).then(|| (consumed + 1, first - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A consumer that has acknowledged messages 1 to 6 of 8; two are pending.
    const WAITING: Observed = Observed {
        generation: (1, 1),
        sequences: (1, 8),
        delivered: 6,
        deliveries: 6,
        ack_floor: 6,
        pending: 2,
        ack_pending: 0,
        has_schedules: false,
    };

    #[test]
    fn messages_deleted_before_they_were_consumed_are_reported_as_lost_once() {
        let mut position = Position::default();
        assert_eq!(position.observe(WAITING), None);
        // Nothing is pending any more: only the previous observation shows that something was.
        let gone = Observed { sequences: (9, 8), pending: 0, ..WAITING };
        let found = position.observe(gone);
        assert_eq!(found, Some(Loss { sequences: (7, 8), messages: 2, possible: false }));
        assert_eq!(position.observe(gone), None);
        assert_eq!(position.observe(Observed { sequences: (9, 9), pending: 1, ..gone }), None);
    }

    #[test]
    fn a_gap_at_the_first_observation_is_a_possible_loss() {
        let observed = Observed { sequences: (9, 8), pending: 0, ..WAITING };
        let found = Position::default().observe(observed);
        assert_eq!(found, Some(Loss { sequences: (7, 8), messages: 2, possible: true }));
    }

    #[test]
    fn a_new_consumer_of_a_stream_that_lost_its_first_messages_is_reported_once() {
        let mut position = Position::default();
        let new = Observed { sequences: (5, 8), delivered: 4, deliveries: 0, ack_floor: 4, pending: 4, ..WAITING };
        assert_eq!(position.discarded_start(&new), Some(4));
        assert_eq!(position.observe(new), None, "it has lost nothing");
        assert_eq!(position.discarded_start(&new), None);
        let whole = Observed { sequences: (1, 8), delivered: 0, ack_floor: 0, ..new };
        assert_eq!(Position::default().discarded_start(&whole), None);
        let older = Observed { delivered: 4, deliveries: 1, ..new };
        assert_eq!(Position::default().discarded_start(&older), None);
    }

    #[test]
    fn pending_messages_that_were_skipped_are_lost_although_others_arrived() {
        let mut position = Position::default();
        assert_eq!(position.observe(WAITING), None);
        // 7 and 8 are deleted, 9 was stored and consumed, 10 is pending.
        let skipped =
            Observed { sequences: (9, 10), delivered: 9, deliveries: 7, ack_floor: 9, pending: 1, ..WAITING };
        let found = position.observe(skipped);
        assert_eq!(found, Some(Loss { sequences: (7, 8), messages: 1, possible: false }));
        assert_eq!(position.observe(skipped), None);
    }

    #[test]
    fn pending_messages_that_may_have_been_delivered_before_the_stream_wrapped_are_a_possible_loss() {
        let mut position = Position::default();
        assert_eq!(position.observe(WAITING), None);
        let wrapped =
            Observed { sequences: (500, 900), delivered: 8, deliveries: 8, ack_floor: 8, pending: 0, ..WAITING };
        let found = position.observe(wrapped);
        assert_eq!(found, Some(Loss { sequences: (7, 499), messages: 493, possible: true }));
    }

    #[test]
    fn replaced_schedules_are_no_loss_and_pending_timers_are() {
        let waiting = Observed { has_schedules: true, ..WAITING };
        let idle = Observed { sequences: (7, 8), pending: 0, ..waiting };
        let mut position = Position::default();
        assert_eq!(position.observe(Observed { delivered: 3, ack_floor: 3, ..idle }), None, "at the start");
        assert_eq!(position.observe(Observed { sequences: (15, 15), ..idle }), None);
        let mut position = Position::default();
        assert_eq!(position.observe(waiting), None);
        let found = position.observe(Observed { sequences: (9, 8), pending: 0, ..waiting });
        assert_eq!(found, Some(Loss { sequences: (7, 8), messages: 2, possible: false }));
    }

    #[test]
    fn deleted_messages_that_were_consumed_are_no_loss() {
        let mut position = Position::default();
        let idle = Observed { delivered: 3, deliveries: 3, ack_floor: 3, pending: 0, ..WAITING };
        assert_eq!(position.observe(idle), None);
        assert_eq!(position.consumed(), 8);
        // All earlier messages are deleted; then one message arrives, and the ack floor is far below.
        let sequences = (9, 12);
        let next = Observed { sequences, delivered: 12, deliveries: 4, ack_pending: 1, ..idle };
        assert_eq!(position.observe(next), None);
    }

    #[test]
    fn a_stream_that_wrapped_between_two_observations_of_an_idle_consumer_is_a_possible_loss_once() {
        let mut position = Position::default();
        let idle = Observed { delivered: 3, deliveries: 3, ack_floor: 3, pending: 0, ..WAITING };
        assert_eq!(position.observe(idle), None);
        let wrapped = Observed { sequences: (500, 900), delivered: 900, deliveries: 4, ack_pending: 1, ..idle };
        let found = position.observe(wrapped);
        assert_eq!(found, Some(Loss { sequences: (9, 499), messages: 491, possible: true }));
        assert_eq!(position.observe(wrapped), None);
    }

    #[test]
    fn a_continued_loss_is_listed_once_and_the_list_is_bounded() {
        let loss = |first, last| Loss { sequences: (first, last), messages: last - first + 1, possible: false };
        let mut losses = Losses::default();
        assert!(losses.add("order-service", &loss(1, 5)));
        assert!(!losses.add("order-service", &loss(6, 9)));
        assert!(losses.add("payment-service", &loss(10, 10)));
        let texts: Vec<String> = losses.texts().collect();
        assert!(texts[0].starts_with("order-service: sequences 1 to 9 ") && texts.len() == 2, "{texts:?}");
        assert!((6..60).all(|n| losses.add("order-service", &loss(2 * n, 2 * n))));
        assert_eq!(losses.texts().count(), MAX_LOSSES);
    }

    #[test]
    fn a_recreated_stream_or_consumer_starts_a_new_position() {
        let mut position = Position::default();
        assert_eq!(position.observe(WAITING), None);
        let recreated =
            Observed { generation: (2, 2), sequences: (0, 0), delivered: 0, ack_floor: 0, pending: 0, ..WAITING };
        assert_eq!(position.observe(recreated), None);
        assert_eq!(position.consumed(), 0);
    }
}
