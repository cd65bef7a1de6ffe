//! Admission control: refuses commands while a resource that they need approaches its limit.
//!
//! A resource closes at [`CLOSE`] percent of its limit and opens below [`OPEN`] percent, so that it does not alternate.
//! Meanwhile `Retry-After` is the expected time until it opens, from the rate at which its load falls.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The percentage of a limit from which commands are refused. The rest is for messages between two polls.
const CLOSE: u64 = 80;
/// The percentage of a limit below which commands are accepted again.
const OPEN: u64 = 70;
/// `Retry-After` while the load does not fall: when a stopped service returns is unknown.
const STANDSTILL: Duration = Duration::from_secs(60);
/// `Retry-After` until a rate is known, a few polls later.
const UNMEASURED: Duration = Duration::from_secs(5);
/// The longest `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// The weight of the newest poll in the rate.
const WEIGHT: f64 = 0.3;

/// The load of a resource with a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Load {
    /// The resource, and the cause of the load.
    pub(crate) what: String,
    /// The load, in the unit of the resource.
    pub(crate) used: u64,
    /// The limit, in the same unit.
    pub(crate) limit: u64,
}

impl Load {
    /// Returns how much the load may grow until the resource closes.
    pub(crate) fn until_closed(&self) -> u64 {
        let close = u128::from(self.limit) * u128::from(CLOSE) / 100;
        u64::try_from(close).unwrap_or(u64::MAX).saturating_sub(self.used)
    }
}

/// Why commands are refused, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// For operators.
    pub(crate) why: String,
    /// When to try again, in seconds.
    pub(crate) retry_after: u64,
}

/// The state of one resource between polls.
#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    last: Option<(Instant, u64)>,
    /// How fast the load has fallen since the resource closed, per second.
    drain: Option<f64>,
}

/// The states of all resources.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    gates: BTreeMap<String, Gate>,
}

impl Admission {
    /// Evaluates all loads, by name; returns the refusal of commands, if they are refused.
    pub(crate) fn decide(&mut self, now: Instant, loads: BTreeMap<String, Load>) -> Option<Refusal> {
        self.gates.retain(|name, _| loads.contains_key(name));
        let decided = loads.into_iter().map(|(name, load)| self.gates.entry(name).or_default().decide(now, &load));
        // The longest wait counts; every gate must see every poll.
        decided.collect::<Vec<_>>().into_iter().flatten().max_by_key(|refusal| refusal.retry_after)
    }
}

impl Gate {
    fn decide(&mut self, now: Instant, load: &Load) -> Option<Refusal> {
        if let Some((then, before)) = self.last.replace((now, load.used)) {
            let seconds = now.saturating_duration_since(then).as_secs_f64().max(1e-3);
            let rate = (choreography::metrics::figure(before) - choreography::metrics::figure(load.used)) / seconds;
            self.drain = self.closed.then(|| self.drain.map_or(rate, |drain| drain + WEIGHT * (rate - drain)));
        }
        let share = u128::from(load.used) * 100 / u128::from(load.limit.max(1));
        self.closed = share >= u128::from(if self.closed { OPEN } else { CLOSE });
        self.closed.then(|| Refusal {
            why: format!("{} ({share} % of the limit)", load.what),
            retry_after: self.retry_after(load).as_secs().max(1),
        })
    }

    fn retry_after(&self, load: &Load) -> Duration {
        let open = u64::try_from(u128::from(load.limit) * u128::from(OPEN) / 100).unwrap_or(u64::MAX);
        let excess = choreography::metrics::figure(load.used.saturating_sub(open));
        match self.drain {
            None => UNMEASURED,
            Some(drain) if drain > 0.0 => {
                let wait = Duration::try_from_secs_f64((excess / drain).ceil());
                wait.unwrap_or(MAX_RETRY_AFTER).min(MAX_RETRY_AFTER)
            }
            Some(_) => STANDSTILL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(admission: &mut Admission, second: u64, used: u64) -> Option<u64> {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        let load = Load { what: "EVENTS".to_owned(), used, limit: 1000 };
        let loads = BTreeMap::from([("EVENTS".to_owned(), load)]);
        admission.decide(*START + Duration::from_secs(second), loads).map(|refusal| refusal.retry_after)
    }

    #[test]
    fn it_closes_near_the_limit_and_opens_well_below() {
        let mut admission = Admission::default();
        let refused: Vec<bool> = [0, 799, 800, 750, 700, 699, 750, 800]
            .into_iter()
            .zip(0..)
            .map(|(used, second)| decide(&mut admission, second, used).is_some())
            .collect();
        assert_eq!(refused, [false, false, true, true, true, false, false, true]);
    }

    #[test]
    fn the_waiting_time_follows_the_rate_at_which_the_load_falls() {
        let mut admission = Admission::default();
        assert_eq!(decide(&mut admission, 0, 1000), Some(5), "no rate is known yet");
        let waits: Vec<u64> =
            (1..=20).map(|second| decide(&mut admission, second, 1000 - second).unwrap()).collect();
        // One unit per second, and 300 - 20 units above the opening level.
        assert!((280..=285).contains(&waits[19]), "{waits:?}");
        let rising = (21..60).map(|second| decide(&mut admission, second, 960 + second)).last();
        assert_eq!(rising, Some(Some(60)), "the load does not fall");
    }
}
