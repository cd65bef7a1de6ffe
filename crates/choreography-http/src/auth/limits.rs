//! Requests per user and per address, by `governor`, with bounded memory.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use choreography::metrics::{self, Counters};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use poem::Request;

use crate::code::Code;
use crate::problem::Problem;

/// The maximum number of users, and of addresses, with a counter of their own; others share one.
const MAX_KEYS: usize = 20_000;
/// The shortest interval between two removals of unused counters.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);

static LIMITED: LazyLock<Counters> =
    LazyLock::new(|| metrics::counters("http_rate_limited", "Requests refused with 429, by the limit"));

/// The limits, in requests per second; 0 means none.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Per user.
    pub user: u32,
    /// Per address.
    pub address: u32,
    /// Per address, of sign-in requests.
    pub sign_in: u32,
}

/// The counters.
pub struct RateLimits {
    user: Option<Limit>,
    address: Option<Limit>,
    sign_in: Option<Limit>,
}

struct Limit {
    name: &'static str,
    limiter: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
    /// When the counters that nobody uses any more were last removed, after there were too many.
    pruned: Mutex<Option<Instant>>,
}

impl Limit {
    fn new(name: &'static str, per_second: u32) -> Option<Self> {
        let per_second = NonZeroU32::new(per_second)?;
        // A burst of two seconds.
        let quota = Quota::per_second(per_second).allow_burst(per_second.saturating_add(per_second.get()));
        Some(Self {
            name,
            limiter: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            pruned: Mutex::default(),
        })
    }

    fn check(&self, mut key: String) -> Result<(), Problem> {
        if self.limiter.len() >= MAX_KEYS {
            self.prune();
            if self.limiter.len() >= MAX_KEYS {
                "others".clone_into(&mut key);
            }
        }
        let Err(until) = self.limiter.check_key(&key) else { return Ok(()) };
        LIMITED.get_or_create(&vec![("limit", self.name.to_owned())]).inc();
        let wait = until.wait_time_from(self.clock.now()).as_secs_f64().ceil().clamp(1.0, 3600.0);
        Err(Problem::new(Code::TOO_MANY_REQUESTS).header(poem::http::header::RETRY_AFTER, wait.to_string()))
    }

    /// Removes the counters without recent requests, at most once per [`PRUNE_INTERVAL`]: it reads all of them.
    fn prune(&self) {
        let mut pruned = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
        if pruned.is_none_or(|at| at.elapsed() >= PRUNE_INTERVAL) {
            self.limiter.retain_recent();
            *pruned = Some(Instant::now());
        }
    }
}

fn checked(limit: Option<&Limit>, key: impl FnOnce() -> String) -> Result<(), Problem> {
    limit.map_or(Ok(()), |limit| limit.check(key()))
}

impl RateLimits {
    /// Creates the counters.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            user: Limit::new("user", limits.user),
            address: Limit::new("address", limits.address),
            sign_in: Limit::new("sign-in", limits.sign_in),
        }
    }

    pub(super) fn user(&self, user: &str) -> Result<(), Problem> {
        checked(self.user.as_ref(), || user.to_owned())
    }

    pub(super) fn address(&self, request: &Request) -> Result<(), Problem> {
        checked(self.address.as_ref(), || address(request))
    }

    pub(super) fn sign_in(&self, request: &Request) -> Result<(), Problem> {
        checked(self.sign_in.as_ref(), || address(request))
    }
}

/// Returns the client's address: of IPv6 the network, because a client has as many addresses as it wants.
#[must_use]
pub fn address(request: &Request) -> String {
    match request.remote_addr().as_socket_addr().map(|address| address.ip().to_canonical()) {
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Some(ip) => ip.to_string(),
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_limited_per_key_and_the_keys_are_bounded() {
        let limit = Limit::new("test", 1).unwrap();
        assert!(limit.check("a".to_owned()).is_ok() && limit.check("a".to_owned()).is_ok());
        let refused = limit.check("a".to_owned()).unwrap_err();
        assert_eq!(refused.code(), Code::TOO_MANY_REQUESTS);
        assert!(limit.check("b".to_owned()).is_ok());
        for key in 0..MAX_KEYS * 2 {
            let _ = limit.check(key.to_string());
        }
        assert!(limit.limiter.len() <= MAX_KEYS + 1, "{}", limit.limiter.len());
        assert!(Limit::new("none", 0).is_none());
    }
}
