//! Back-off per subject: messages that the relay holds back because their stream refused similar ones.
//!
//! Messages whose subjects differ only in the key go to one stream. After a refusal they wait for a time that doubles,
//! from 2 s to 30 s; then a few of them are tried, and the first stored message releases the others. Messages on other
//! subjects are not affected. The number of subjects without the key is the number of message types that a service
//! publishes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use tokio::time::Instant;

use crate::telemetry::metrics;

/// The back-off after the first refusal.
const MIN_BACKOFF: Duration = Duration::from_secs(2);
/// The longest back-off.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The number of messages tried after a back-off: more than one, since a stream may accept only some of them.
const MAX_PROBES: usize = 16;
/// The time without a refusal after which a subject is no longer reported.
const RECOVERED_AFTER: Duration = Duration::from_secs(5);

/// The refused subjects.
#[derive(Default)]
pub(crate) struct Refusals(BTreeMap<String, Refused>);

struct Refused {
    reason: String,
    count: u64,
    backoff: Duration,
    since: Instant,
    /// When the current back-off began.
    stepped: Instant,
    last: Instant,
    /// When messages are tried again; `None` if the stream stores some of them.
    retry_at: Option<Instant>,
    probes: usize,
}

impl Refusals {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a message on this subject may be sent now.
    pub(crate) fn admits(&mut self, subject: &str, now: Instant) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let Some(refused) = self.0.get_mut(without_key(subject)) else { return true };
        match refused.retry_at {
            None => true,
            Some(retry_at) if now < retry_at || refused.probes == 0 => false,
            Some(_) => {
                refused.probes -= 1;
                true
            }
        }
    }

    /// Records a refusal; logs it if its reason is new.
    pub(crate) fn refused(&mut self, subject: &str, reason: &str, now: Instant) {
        metrics::refused();
        let subject = without_key(subject);
        let refused = self.0.entry(subject.to_owned()).or_insert_with(|| Refused {
            reason: String::new(),
            count: 0,
            backoff: MIN_BACKOFF,
            since: now,
            stepped: now,
            last: now,
            retry_at: Some(now + MIN_BACKOFF),
            probes: MAX_PROBES,
        });
        if refused.reason != reason {
            reason.clone_into(&mut refused.reason);
            let effect = "messages are refused; the outbox keeps them and the relay tries again with back-off";
            tracing::warn!(subject, reason, "{effect}");
        }
        (refused.count, refused.last) = (refused.count + 1, now);
        if refused.retry_at.is_none_or(|retry_at| retry_at <= now) {
            // Of messages that were sent together only the first refusal counts, even if some were stored in between.
            if now >= refused.stepped + refused.backoff {
                refused.backoff = (refused.backoff * 2).min(MAX_BACKOFF);
                refused.stepped = now;
            }
            refused.retry_at = Some(refused.stepped + refused.backoff);
            refused.probes = MAX_PROBES;
        }
    }

    /// Records that the stream accepted a message on this subject, or refused it for the message itself.
    pub(crate) fn answered(&mut self, subject: &str) {
        if self.0.is_empty() {
            return;
        }
        if let Some(refused) = self.0.get_mut(without_key(subject)) {
            refused.retry_at = None;
        }
    }

    /// Forgets the subjects without a recent refusal.
    pub(crate) fn forget(&mut self, now: Instant) {
        self.0.retain(|subject, refused| {
            let recovered = refused.retry_at.is_none() && now >= refused.last + RECOVERED_AFTER;
            if recovered {
                tracing::info!(subject, refusals = refused.count, "messages are stored again");
            }
            !recovered
        });
    }

    /// Describes the refusals for readiness.
    pub(crate) fn describe(&self, now: Instant) -> String {
        let mut text = String::new();
        for (subject, refused) in &self.0 {
            let separator = if text.is_empty() { "" } else { "; " };
            let seconds = (now - refused.since).as_secs();
            let Refused { reason, count, .. } = refused;
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{subject} is refused: {reason} ({count} refusals in {seconds} s)");
        }
        text
    }
}

/// Returns whether a refusal with this code is permanent, and concerns only this message.
pub(crate) fn is_permanent(code: Option<ErrorCode>) -> bool {
    code.is_some_and(|code| {
        [
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM,
            ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM,
            ErrorCode::MESSAGE_SCHEDULES_PATTERN_INVALID,
            ErrorCode::MESSAGE_SCHEDULES_TARGET_INVALID,
            ErrorCode::MESSAGE_SCHEDULES_TTL_INVALID,
            ErrorCode::MESSAGE_SCHEDULES_ROLLUP_INVALID,
            ErrorCode::MESSAGE_TTL_INVALID,
        ]
        .contains(&code)
    })
}

/// Returns the subject without its last token.
fn without_key(subject: &str) -> &str {
    subject.rsplit_once('.').map_or(subject, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "a.event.b.K1";

    #[test]
    fn the_back_off_doubles_to_its_limit_and_ends_after_a_stored_message() {
        let (mut refusals, mut now) = (Refusals::default(), Instant::now());
        for seconds in [2, 4, 8, 16, 30, 30] {
            assert!(refusals.admits(SUBJECT, now));
            refusals.refused(SUBJECT, "full", now);
            refusals.refused("a.event.b.K2", "full", now);
            assert!(!refusals.admits("a.event.b.K3", now + Duration::from_millis(seconds * 1000 - 1)));
            assert!(refusals.admits("a.event.c.K1", now), "another subject is not affected");
            now += Duration::from_secs(seconds);
        }
        assert!((0..2 * MAX_PROBES).filter(|_| refusals.admits(SUBJECT, now)).count() == MAX_PROBES);
        refusals.answered(SUBJECT);
        assert!(refusals.admits(SUBJECT, now));
        assert!(refusals.describe(now).contains("a.event.b is refused: full (12 refusals in 90 s)"));
        refusals.forget(now + RECOVERED_AFTER);
        assert!(refusals.is_empty());
    }
}
