//! The number of bytes in a stream after a sequence, estimated from the server's totals per stream.
//!
//! The server has no such sum. Each poll adds the bytes stored since the last one, and subtracts the dropped ones.

use std::collections::VecDeque;

use async_nats::jetstream::stream;

/// The maximum number of segments; beyond it, neighbours are joined.
const MAX_SEGMENTS: usize = 512;

/// The messages that were stored between two polls.
#[derive(Debug, Clone, Copy)]
struct Segment {
    first: u64,
    last: u64,
    bytes: u64,
}

impl Segment {
    /// Returns the bytes from a sequence on, assuming that all messages of the segment have the same size.
    fn from(&self, sequence: u64) -> u64 {
        if sequence > self.last {
            return 0;
        }
        let rest = self.last - sequence.max(self.first) + 1;
        let share = u128::from(self.bytes) * u128::from(rest) / u128::from(self.last - self.first + 1);
        u64::try_from(share).unwrap_or(self.bytes)
    }
}

/// The bytes of one stream, by sequence.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    segments: VecDeque<Segment>,
}

impl Ledger {
    /// Updates the ledger with the stream's state.
    pub(crate) fn observe(&mut self, state: &stream::State) {
        let (first, last) = (state.first_sequence, state.last_sequence);
        if self.segments.back().is_some_and(|newest| newest.last > last) {
            self.segments.clear();
        }
        while self.segments.front().is_some_and(|oldest| oldest.last < first) {
            self.segments.pop_front();
        }
        if let Some(oldest) = self.segments.front_mut().filter(|oldest| oldest.first < first) {
            *oldest = Segment { first, last: oldest.last, bytes: oldest.from(first) };
        }
        let known: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let begin = self.segments.back().map_or(first, |newest| newest.last + 1).max(1);
        if last >= begin {
            let bytes = state.bytes.saturating_sub(known);
            self.segments.push_back(Segment { first: begin, last, bytes });
        }
        if self.segments.len() > MAX_SEGMENTS {
            self.join_neighbours();
        }
    }

    fn join_neighbours(&mut self) {
        let pairs = self.segments.make_contiguous().chunks(2).map(|pair| match pair {
            [older, newer] => Segment { first: older.first, last: newer.last, bytes: older.bytes + newer.bytes },
            _ => pair[0],
        });
        self.segments = pairs.collect();
    }

    /// Returns the bytes of the messages after a sequence.
    pub(crate) fn bytes_after(&self, sequence: u64) -> u64 {
        self.segments.iter().map(|segment| segment.from(sequence + 1)).sum()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(first: u64, last: u64, bytes: u64) -> stream::State {
        let time = "2026-11-27T00:00:00Z";
        serde_json::from_value(json!({
            "messages": last + 1 - first, "bytes": bytes, "first_seq": first, "first_ts": time, "last_seq": last,
            "last_ts": time, "consumer_count": 0
        }))
        .unwrap()
    }

    #[test]
    fn large_messages_after_small_ones_count_with_their_size() {
        let mut ledger = Ledger::default();
        ledger.observe(&state(1, 1000, 100_000));
        ledger.observe(&state(1, 1010, 200_000));
        assert_eq!((ledger.bytes_after(1000), ledger.bytes_after(1005)), (100_000, 50_000));
        // The ring buffer drops the small ones.
        ledger.observe(&state(501, 1010, 150_000));
        assert_eq!((ledger.bytes_after(1000), ledger.bytes_after(500)), (100_000, 150_000));
        assert_eq!(ledger.bytes_after(1010), 0);
    }

    #[test]
    fn a_long_history_stays_small_and_keeps_its_sum() {
        let mut ledger = Ledger::default();
        for n in 1..=3000 {
            ledger.observe(&state(1, n, n * 10));
        }
        assert!(ledger.segments.len() <= MAX_SEGMENTS);
        assert_eq!(ledger.bytes_after(0), 30_000);
    }

    #[test]
    fn an_empty_or_recreated_stream_has_no_bytes_of_the_old_one() {
        let mut ledger = Ledger::default();
        ledger.observe(&state(1, 0, 0));
        assert_eq!(ledger.bytes_after(0), 0);
        ledger.observe(&state(1, 10, 1000));
        ledger.observe(&state(1, 2, 100));
        assert_eq!(ledger.bytes_after(0), 100);
    }
}
