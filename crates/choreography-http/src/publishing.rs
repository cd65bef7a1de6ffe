//! The outcomes of published commands, in readiness.
//!
//! A stream that can be read may still refuse messages or not acknowledge them: nats-server is at its storage limit, or
//! its disk is full. Consecutive failures make the gateway unready. Without requests there are no outcomes, so the
//! failures are cleared after a while, and the next request tries again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use choreography::Health;

/// The check of [`Health`].
const PUBLISHING: &str = "publishing";
/// Consecutive failures until the gateway is unready: one acknowledgement may be late.
const MAX_FAILURES: u32 = 2;
const UNREADY_FOR: Duration = Duration::from_secs(10);

/// Tracks the outcomes of published commands.
pub(crate) struct Publishing {
    health: Health,
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    consecutive: u32,
    last: Option<Instant>,
}

impl Publishing {
    pub(crate) fn new(health: Health) -> Self {
        Self { health, failures: Mutex::default() }
    }

    /// Records a stored command.
    pub(crate) fn stored(&self) {
        self.clear(|_| true);
    }

    /// Records a command that was not stored although there is a connection.
    pub(crate) fn failed(&self, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.consecutive = failures.consecutive.saturating_add(1);
        failures.last = Some(now);
        if failures.consecutive >= MAX_FAILURES {
            let why = "JetStream stored none of the last commands; clients get 503, and `nats-storage` may have the cause";
            self.health.failed(PUBLISHING, why);
        }
    }

    /// Clears failures that are too old.
    pub(crate) fn expire(&self, now: Instant) {
        self.clear(|last| now.duration_since(last) >= UNREADY_FOR);
    }

    fn clear(&self, is_over: impl Fn(Instant) -> bool) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.last.is_some_and(is_over) {
            *failures = Failures::default();
            self.health.ok(PUBLISHING);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_failures_make_the_gateway_unready_until_one_is_stored_or_for_ten_seconds() {
        let (health, start) = (Health::default(), Instant::now());
        let publishing = Publishing::new(health.clone());
        publishing.failed(start);
        assert!(health.readiness().ready, "one may be late");
        publishing.failed(start);
        assert!(!health.readiness().ready);
        publishing.expire(start + UNREADY_FOR / 2);
        assert!(!health.readiness().ready);
        publishing.expire(start + UNREADY_FOR);
        assert!(health.readiness().ready);
        (0..2).for_each(|_| publishing.failed(start));
        publishing.stored();
        assert!(health.readiness().ready);
    }
}
