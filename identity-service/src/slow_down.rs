//! Slows down guesses: a growing delay per account and per address, in memory.
//!
//! A delay is never longer than a minute, so no attacker locks the owner out for good. An address from which the owner
//! has signed in before has a count of its own: failures from elsewhere do not delay the owner there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::secrets::digest;

/// The failures without a delay, per account and per known address of it.
const FREE: u32 = 5;
/// The failures without a delay per address, which many users may share.
const FREE_PER_ADDRESS: u32 = 20;
/// The first delay; it doubles with each failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest delay.
pub const LONGEST: Duration = Duration::from_secs(60);
/// A count is forgotten after this time without a failure.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// The maximum number of counts; after it the oldest is forgotten.
const MAX: usize = 20_000;

/// What failures are counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An account, for all unknown addresses together.
    Account(String),
    /// An address.
    Address(String),
    /// An account, for an address from which its owner has signed in before.
    Known(String, String),
}

impl Source {
    /// The key in memory has a fixed size, whatever the client sends.
    fn key(&self) -> String {
        match self {
            Self::Account(account) => digest(["account", account]),
            Self::Address(address) => digest(["address", address]),
            Self::Known(account, address) => digest(["known", account, address]),
        }
    }

    fn free(&self) -> u32 {
        match self {
            Self::Account(_) | Self::Known(..) => FREE,
            Self::Address(_) => FREE_PER_ADDRESS,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
    next: Instant,
}

/// The counts of failures.
#[derive(Debug, Default)]
pub struct SlowDown {
    failures: Mutex<HashMap<String, Failures>>,
}

impl SlowDown {
    /// Returns how long the next attempt must wait; zero if it need not.
    #[must_use]
    pub fn wait(&self, sources: &[Source], now: Instant) -> Duration {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let next = sources.iter().filter_map(|source| failures.get(&source.key())).map(|failures| failures.next);
        next.max().map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    /// Counts a failure.
    pub fn failed(&self, sources: &[Source], now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for source in sources {
            let key = source.key();
            if failures.len() >= MAX && !failures.contains_key(&key) {
                forget(&mut failures, now);
            }
            let entry = failures.entry(key).or_insert(Failures { count: 0, last: now, next: now });
            if now.saturating_duration_since(entry.last) > FORGET {
                entry.count = 0;
            }
            entry.count = entry.count.saturating_add(1);
            entry.last = now;
            entry.next = now + delay(entry.count, source.free());
        }
    }

    /// Takes back the last failure, which was counted before the attempt: it has succeeded. Forgets all failures of an
    /// account; those of others at an address remain.
    pub fn succeeded(&self, sources: &[Source], now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for source in sources {
            let key = source.key();
            let Some(entry) = failures.get_mut(&key) else { continue };
            entry.count = entry.count.saturating_sub(1);
            entry.next = now + delay(entry.count, source.free());
            if entry.count == 0 || !matches!(source, Source::Address(_)) {
                failures.remove(&key);
            }
        }
    }

    /// Returns the number of counts in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns whether there are no counts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn delay(count: u32, free: u32) -> Duration {
    let Some(over) = count.checked_sub(free + 1) else { return Duration::ZERO };
    FIRST.saturating_mul(2_u32.saturating_pow(over)).min(LONGEST)
}

/// Makes room: removes the counts that are old enough, or else the oldest tenth.
fn forget(failures: &mut HashMap<String, Failures>, now: Instant) {
    failures.retain(|_, failures| now.saturating_duration_since(failures.last) <= FORGET);
    if failures.len() < MAX {
        return;
    }
    let mut times: Vec<Instant> = failures.values().map(|failures| failures.last).collect();
    let (_, oldest, _) = times.select_nth_unstable(MAX / 10);
    let oldest = *oldest;
    failures.retain(|_, failures| failures.last > oldest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Source {
        Source::Account("ada@example.org".to_owned())
    }

    #[test]
    fn the_delay_grows_and_is_never_longer_than_a_minute() {
        let (slow_down, now) = (SlowDown::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..40 {
            slow_down.failed(&[account()], now);
            waits.push(slow_down.wait(&[account()], now).as_secs());
        }
        assert_eq!(waits[..13], [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(waits[13..].iter().all(|wait| *wait == 60));
        assert_eq!(slow_down.wait(&[account()], now + LONGEST), Duration::ZERO);
    }

    #[test]
    fn failures_from_elsewhere_do_not_delay_a_known_address() {
        let (slow_down, now) = (SlowDown::default(), Instant::now());
        for n in 0..1000 {
            slow_down.failed(&[account(), Source::Address(format!("203.0.113.{n}"))], now);
        }
        let known = Source::Known("ada@example.org".to_owned(), "192.0.2.1".to_owned());
        assert_eq!(slow_down.wait(std::slice::from_ref(&known), now), Duration::ZERO);
        assert!(slow_down.wait(&[account()], now) > Duration::ZERO);
        slow_down.failed(&[account()], now);
        slow_down.succeeded(&[account(), known], now);
        assert_eq!(slow_down.wait(&[account()], now), Duration::ZERO);
    }

    #[test]
    fn successes_at_an_address_that_many_users_share_do_not_delay_it() {
        let (slow_down, now, office) =
            (SlowDown::default(), Instant::now(), Source::Address("192.0.2.1".to_owned()));
        for _ in 0..100 {
            assert_eq!(slow_down.wait(std::slice::from_ref(&office), now), Duration::ZERO);
            slow_down.failed(std::slice::from_ref(&office), now);
            slow_down.succeeded(std::slice::from_ref(&office), now);
        }
        assert!(slow_down.is_empty());
    }

    #[test]
    fn the_memory_is_bounded() {
        let (slow_down, start) = (SlowDown::default(), Instant::now());
        for n in 0..30_000 {
            slow_down.failed(&[Source::Address(n.to_string())], start + Duration::from_millis(n));
        }
        assert!(slow_down.len() <= MAX, "{}", slow_down.len());
        assert!(slow_down.len() > MAX / 2, "{}", slow_down.len());
    }

    #[test]
    fn a_count_is_forgotten_after_a_time_without_failures() {
        let (slow_down, now) = (SlowDown::default(), Instant::now());
        (0..30).for_each(|_| slow_down.failed(&[account()], now));
        let later = now + FORGET + Duration::from_secs(1);
        slow_down.failed(&[account()], later);
        assert_eq!(slow_down.wait(&[account()], later), Duration::ZERO);
    }
}
