//! How far a consumer has come in its stream, and which messages the stream discarded before that.
//!
//! A ring buffer or an age limit discards messages whether or not they were consumed. The gap between a consumer's
//! position and the stream's first sequence is the only trace of a loss.

use std::fmt;

use async_nats::jetstream::{consumer, stream};

/// A consumer and its stream at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// When the stream and the consumer were made, in nanoseconds since 1970: others of the same names count anew.
    pub generation: (i128, i128),
    /// The stream's first and last sequence.
    pub sequences: (u64, u64),
    /// The last delivered sequence.
    pub delivered: u64,
    /// The sequence up to which all deliveries are acknowledged.
    pub ack_floor: u64,
    /// Messages not delivered yet.
    pub pending: u64,
    /// Messages delivered and not acknowledged.
    pub ack_pending: u64,
}

impl Observed {
    /// Reads what the server says. The stream must have been asked before its consumer.
    #[must_use]
    pub fn of(stream: &stream::Info, consumer: &consumer::Info) -> Self {
        Self {
            generation: (stream.created.unix_timestamp_nanos(), consumer.created.unix_timestamp_nanos()),
            sequences: (stream.state.first_sequence, stream.state.last_sequence),
            delivered: consumer.delivered.stream_sequence,
            ack_floor: consumer.ack_floor.stream_sequence,
            pending: consumer.num_pending,
            ack_pending: consumer.num_ack_pending as u64,
        }
    }

    /// Returns the messages that the consumer has still to acknowledge.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.pending + self.ack_pending
    }

    /// Returns the sequence up to which everything was delivered and acknowledged.
    fn acknowledged(&self) -> u64 {
        if self.ack_pending == 0 { self.delivered.max(self.ack_floor) } else { self.ack_floor }
    }
}

/// Messages that a stream discarded before their consumer had acknowledged them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The first and the last discarded sequence.
    pub sequences: (u64, u64),
    /// How many of them were the consumer's, at least. At the first look nothing is known but the sequences, and all
    /// of them count.
    pub messages: u64,
    /// Whether this is the first look, so that the sequences may hold none of the consumer's messages.
    pub possible: bool,
}

/// What can be done about a loss.
pub(crate) const REMEDY: &str =
    "events are republished from their producers' outboxes; lost commands must be sent again by their senders";

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequences: (first, last), messages, possible } = self;
        if *possible {
            write!(
                f,
                "sequences {first} to {last} were discarded before this consumer read them, at most {messages}"
            )?;
            write!(f, " messages are lost; {REMEDY}")
        } else {
            write!(
                f,
                "sequences {first} to {last} were discarded unconsumed, at least {messages} messages are lost; "
            )?;
            write!(f, "{REMEDY}")
        }
    }
}

/// The position of one consumer, followed from look to look.
#[derive(Debug, Clone, Default)]
pub struct Position {
    last: Option<Observed>,
    consumed: u64,
}

impl Position {
    /// Returns a sequence up to which nothing is left to consume.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Follows the consumer, and returns which messages were lost since the last look.
    pub fn observe(&mut self, observed: Observed) -> Option<Loss> {
        let before = self.last.replace(observed).filter(|last| last.generation == observed.generation);
        let (first, last) = observed.sequences;
        // What was consumed once stays so, though the acknowledgement floor falls behind when a message comes.
        let consumed = before.map_or(0, |_| self.consumed).max(observed.acknowledged());
        // The floor stands still while nothing that passes the filter is stored: then all that there is counts.
        self.consumed = if observed.outstanding() == 0 { last } else { consumed.max(first.saturating_sub(1)) };
        if first <= consumed + 1 {
            return None;
        }
        let sequences = (consumed + 1, first - 1);
        let discarded = sequences.1 - sequences.0 + 1;
        match before {
            None => Some(Loss { sequences, messages: discarded, possible: true }),
            Some(before) if before.outstanding() == 0 => None,
            Some(before) => {
                let missing = before.outstanding().saturating_sub(observed.outstanding());
                Some(Loss { sequences, messages: missing.clamp(1, discarded), possible: false })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A consumer that has acknowledged up to 6 of the messages 1 to 8, and waits for two more.
    const WAITING: Observed =
        Observed { generation: (1, 1), sequences: (1, 8), delivered: 6, ack_floor: 6, pending: 2, ack_pending: 0 };

    #[test]
    fn messages_discarded_before_they_were_consumed_are_a_loss_once() {
        let mut position = Position::default();
        assert_eq!(position.observe(WAITING), None);
        // Nothing is pending any more: only what was said before tells that something was.
        let gone = Observed { sequences: (9, 8), pending: 0, ..WAITING };
        let found = position.observe(gone);
        assert_eq!(found, Some(Loss { sequences: (7, 8), messages: 2, possible: false }));
        assert_eq!(position.observe(gone), None);
        assert_eq!(position.observe(Observed { sequences: (9, 9), pending: 1, ..gone }), None);
    }

    #[test]
    fn a_gap_at_the_first_look_is_a_possible_loss() {
        let first_look = Observed { sequences: (9, 8), pending: 0, ..WAITING };
        let found = Position::default().observe(first_look);
        assert_eq!(found, Some(Loss { sequences: (7, 8), messages: 2, possible: true }));
    }

    #[test]
    fn consumed_history_that_goes_is_no_loss() {
        let mut position = Position::default();
        let idle = Observed { delivered: 3, ack_floor: 3, pending: 0, ..WAITING };
        assert_eq!(position.observe(idle), None);
        assert_eq!(position.consumed(), 8);
        // All that was stored since is other consumers'; then one message comes, and the floor is far behind.
        let sequences = (500, 900);
        assert_eq!(position.observe(Observed { sequences, delivered: 900, ack_pending: 1, ..idle }), None);
    }

    #[test]
    fn a_stream_or_a_consumer_made_anew_is_followed_anew() {
        let mut position = Position::default();
        assert_eq!(position.observe(WAITING), None);
        let anew =
            Observed { generation: (2, 2), sequences: (0, 0), delivered: 0, ack_floor: 0, pending: 0, ..WAITING };
        assert_eq!(position.observe(anew), None);
        assert_eq!(position.consumed(), 0);
    }
}
