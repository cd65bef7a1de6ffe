//! The recovery scan: its position in the pending batches of this instance.
//!
//! At start it reads once the batches from before the start. From then on a round begins every 2 s and reads batches
//! older than a minimum age: those that missed the hot path or were refused. A round continues after the last batch it
//! read, to the end, however many were refused before, and reads no batch twice.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::outbound::outbox::{first_row_id, next_row_id};
use crate::outbound::outbox_pending::Wanted;

/// The age at which a pending batch has missed the hot path: the time limit of an acknowledgement.
const MIN_AGE: Duration = crate::outbound::in_flight::ACK_TIMEOUT;
/// The number of consecutive parts without any publish after which a round waits for the next interval, so that a large
/// outbox of refused messages costs little.
const MAX_IDLE_PARTS: u32 = 2;

/// The batches that the scan reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Those written before this row id.
    Recovering { before: Uuid },
    /// Those older than [`MIN_AGE`].
    Running,
}

/// The state of the scan.
#[derive(Debug)]
pub(crate) struct Scan {
    owner: Uuid,
    phase: Phase,
    /// The last batch that this round has read.
    after: Option<Uuid>,
    /// Whether there is more to read now.
    active: bool,
    idle_parts: u32,
}

impl Scan {
    /// Starts with the batches written before now.
    pub(crate) fn new(owner: Uuid) -> Self {
        let before = next_row_id();
        Self { owner, phase: Phase::Recovering { before }, after: None, active: false, idle_parts: 0 }
    }

    /// Returns whether there is more to read now.
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// Returns whether batches from before the start are still to be read.
    pub(crate) fn is_recovering(&self) -> bool {
        self.phase != Phase::Running
    }

    /// Begins the next round, or continues one that waits.
    pub(crate) fn wake(&mut self) {
        (self.active, self.idle_parts) = (true, 0);
    }

    /// Waits for the next interval.
    pub(crate) fn pause(&mut self) {
        self.active = false;
    }

    /// Returns the batches to read next.
    pub(crate) fn wanted(&self, now: OffsetDateTime) -> Wanted {
        let before = match self.phase {
            Phase::Recovering { before } => before,
            Phase::Running => first_row_id(now - MIN_AGE),
        };
        Wanted { owner: self.owner, before, from: first_row_id(now + 2 * MIN_AGE), after: self.after }
    }

    /// Records the last batch of a part, and whether any of its rows were published.
    pub(crate) fn examined(&mut self, last: Uuid, sent: bool) {
        self.after = Some(last);
        self.idle_parts = if sent { 0 } else { self.idle_parts + 1 };
        // Batches from before the start are read without a pause: until then the instance is not ready.
        self.active = self.is_recovering() || self.idle_parts < MAX_IDLE_PARTS;
    }

    /// Ends the round.
    pub(crate) fn end(&mut self) {
        (self.phase, self.after, self.active) = (Phase::Running, None, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_continues_after_the_last_batch_and_waits_if_nothing_can_be_published() {
        let mut scan = Scan::new(Uuid::nil());
        assert!(!scan.is_active() && scan.is_recovering());
        scan.wake();
        let start = scan.wanted(OffsetDateTime::now_utc()).before;
        scan.examined(Uuid::from_u128(7), false);
        let later = scan.wanted(OffsetDateTime::now_utc() + Duration::from_secs(3600));
        assert_eq!((later.before, later.after), (start, Some(Uuid::from_u128(7))), "its end does not move");
        scan.end();
        assert!(!scan.is_active() && !scan.is_recovering());
        scan.wake();
        for place in 0..u128::from(MAX_IDLE_PARTS) {
            assert!(scan.is_active());
            scan.examined(Uuid::from_u128(place), false);
        }
        assert!(!scan.is_active());
        scan.wake();
        assert!(scan.wanted(OffsetDateTime::now_utc()).after.is_some(), "the round does not start over");
        scan.examined(Uuid::from_u128(9), true);
        assert!(scan.is_active());
    }
}
