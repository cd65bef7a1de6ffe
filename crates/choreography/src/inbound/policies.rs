//! The policies of a service: how it batches, waits, and retries.

use std::time::Duration;

/// How a service batches, waits, and retries. The defaults are measured (docs/performance.md).
///
/// ```
/// use std::time::Duration;
///
/// let mut policies = choreography::Policies::default();
/// policies.batch_linger = Duration::from_millis(1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policies {
    /// The maximum number of messages per transaction, 1 to 1,000; by default 256. More cost memory and longer locks,
    /// fewer cost commits.
    pub max_batch: usize,
    /// How long messages wait for a batch to fill while the service is busy, at most 1 s; by default 5 ms. It adds to
    /// the latency and saves commits. A message after a pause does not wait.
    pub batch_linger: Duration,
    /// The number of messages per pull request, 1 to 10,000; by default 256. Up to one and a half times as many wait in
    /// the client while their ack-wait runs.
    pub pull: usize,
    /// The time limit of a handler per batch, 1 s to 1 h; by default 15 s. Until then, the batch holds its locks.
    pub handler_timeout: Duration,
    /// The delay before the second attempt of a failed message, 1 ms to 1 h; by default 250 ms. It doubles with each
    /// failure.
    pub min_retry_delay: Duration,
    /// The longest delay between two attempts, at least the shortest and at most 1 h; by default 30 s. The messages in
    /// between count against the consumer's `max_ack_pending`.
    pub max_retry_delay: Duration,
    /// How long a message of a version newer than the service's is retried until it becomes a dead letter, at most 7
    /// days; by default 1 h. Meanwhile the service is not ready, and an upgraded instance may take the message.
    pub unknown_version_timeout: Duration,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            max_batch: 256,
            batch_linger: Duration::from_millis(5),
            pull: 256,
            handler_timeout: Duration::from_secs(15),
            min_retry_delay: Duration::from_millis(250),
            max_retry_delay: Duration::from_secs(30),
            unknown_version_timeout: Duration::from_secs(3600),
        }
    }
}

impl Policies {
    /// Refuses values outside of their ranges.
    pub(crate) fn check(&self) -> Result<(), PolicyError> {
        let hour = Duration::from_secs(3600);
        let week = hour * 24 * 7;
        let refuse = |policy, value: String, allowed| Err(PolicyError { policy, value, allowed });
        if !(1..=1000).contains(&self.max_batch) {
            return refuse("max_batch", self.max_batch.to_string(), "1 to 1000");
        }
        if !(1..=10_000).contains(&self.pull) {
            return refuse("pull", self.pull.to_string(), "1 to 10000");
        }
        let durations = [
            ("batch_linger", self.batch_linger, Duration::ZERO, Duration::from_secs(1), "at most 1 s"),
            ("handler_timeout", self.handler_timeout, Duration::from_secs(1), hour, "1 s to 1 h"),
            ("min_retry_delay", self.min_retry_delay, Duration::from_millis(1), hour, "1 ms to 1 h"),
            ("max_retry_delay", self.max_retry_delay, self.min_retry_delay, hour, "min_retry_delay to 1 h"),
            ("unknown_version_timeout", self.unknown_version_timeout, Duration::ZERO, week, "at most 7 days"),
        ];
        for (policy, value, min, max, allowed) in durations {
            if !(min..=max).contains(&value) {
                return refuse(policy, format!("{value:?}"), allowed);
            }
        }
        Ok(())
    }

    /// Returns the delay after a number of failures.
    pub(crate) fn retry_delay(&self, failures: u64) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1).min(31)).unwrap_or(31);
        self.min_retry_delay.saturating_mul(2_u32.saturating_pow(doublings)).min(self.max_retry_delay)
    }

    /// Returns the sum of the delays between a number of attempts.
    pub(crate) fn retried_for(&self, attempts: u64) -> Duration {
        let mut sum = Duration::ZERO;
        for failures in 1..attempts {
            let delay = self.retry_delay(failures);
            if delay == self.max_retry_delay {
                let rest = u32::try_from(attempts - failures).unwrap_or(u32::MAX);
                return sum.saturating_add(delay.saturating_mul(rest));
            }
            sum += delay;
        }
        sum
    }
}

/// A policy outside of its range.
#[derive(Debug, thiserror::Error)]
#[error("the policy {policy} is {value}; allowed: {allowed}")]
pub struct PolicyError {
    /// The name of the policy.
    pub policy: &'static str,
    /// Its value.
    pub value: String,
    /// The allowed values.
    pub allowed: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let policies = Policies::default();
        let delays = [1, 2, 3, 8, 9, u64::MAX].map(|failures| policies.retry_delay(failures).as_millis());
        assert_eq!(delays, [250, 500, 1000, 30_000, 30_000, 30_000]);
        let sums = [0, 1, 2, 3, 4, 9, 11].map(|attempts| policies.retried_for(attempts).as_millis());
        assert_eq!(sums, [0, 0, 250, 750, 1750, 61_750, 121_750]);
        assert!(policies.retried_for(u64::MAX) > Duration::from_secs(1 << 32));
    }

    #[test]
    fn a_value_outside_of_its_range_is_refused_with_its_name_and_range() {
        let refused = |change: fn(&mut Policies)| {
            let mut policies = Policies::default();
            change(&mut policies);
            policies.check().unwrap_err().to_string()
        };
        Policies::default().check().unwrap();
        assert_eq!(refused(|p| p.max_batch = 0), "the policy max_batch is 0; allowed: 1 to 1000");
        assert_eq!(refused(|p| p.pull = 10_001), "the policy pull is 10001; allowed: 1 to 10000");
        let linger = refused(|p| p.batch_linger = Duration::from_secs(2));
        assert_eq!(linger, "the policy batch_linger is 2s; allowed: at most 1 s");
        assert!(refused(|p| p.handler_timeout = Duration::ZERO).contains("1 s to 1 h"));
        assert!(refused(|p| p.max_retry_delay = Duration::from_millis(249)).contains("min_retry_delay"));
    }
}
