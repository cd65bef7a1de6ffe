//! Whether commands are accepted: not while something that a command needs approaches its limit.
//!
//! What is close to its limit closes at [`CLOSE`] percent and opens below [`OPEN`] percent, so that it does not
//! alternate. Until it opens, `Retry-After` is the time that takes at the rate at which it goes down.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// From here on no commands are accepted, in percent of a limit. The rest is for what is on its way between two looks.
const CLOSE: u64 = 80;
/// Below this they are accepted again.
const OPEN: u64 = 70;
/// `Retry-After` while nothing goes down: a service that is down comes back when it comes back.
const STANDSTILL: Duration = Duration::from_secs(60);
/// `Retry-After` before a rate is known: a few looks later it is.
const UNMEASURED: Duration = Duration::from_secs(5);
/// The longest `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How much the newest look counts in the rate.
const WEIGHT: f64 = 0.3;

/// Something bounded, and how much of it is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Load {
    /// What it is, and the cause for being close to the limit.
    pub(crate) what: String,
    /// How much is taken, in a unit of its own.
    pub(crate) used: u64,
    /// How much there is.
    pub(crate) limit: u64,
}

impl Load {
    /// Returns how much may be taken until it closes.
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
    /// When to come again, in seconds.
    pub(crate) retry_after: u64,
}

/// One bounded thing from look to look.
#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    last: Option<(Instant, u64)>,
    /// How fast it has gone down since it is closed, per second.
    drain: Option<f64>,
}

/// All bounded things.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    gates: BTreeMap<String, Gate>,
}

impl Admission {
    /// Looks at all loads, by name, and returns why commands are refused, if they are.
    pub(crate) fn decide(&mut self, now: Instant, loads: BTreeMap<String, Load>) -> Option<Refusal> {
        self.gates.retain(|name, _| loads.contains_key(name));
        let decided = loads.into_iter().map(|(name, load)| self.gates.entry(name).or_default().decide(now, &load));
        // The longest wait is the one that counts; every gate must see every look.
        decided.collect::<Vec<_>>().into_iter().flatten().max_by_key(|refusal| refusal.retry_after)
    }
}

impl Gate {
    fn decide(&mut self, now: Instant, load: &Load) -> Option<Refusal> {
        if let Some((then, before)) = self.last.replace((now, load.used)) {
            let seconds = now.saturating_duration_since(then).as_secs_f64().max(1e-3);
            let rate = (messaging::metrics::figure(before) - messaging::metrics::figure(load.used)) / seconds;
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
        let excess = messaging::metrics::figure(load.used.saturating_sub(open));
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

    fn look(admission: &mut Admission, second: u64, used: u64) -> Option<u64> {
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
            .map(|(used, second)| look(&mut admission, second, used).is_some())
            .collect();
        assert_eq!(refused, [false, false, true, true, true, false, false, true]);
    }

    #[test]
    fn the_time_to_wait_follows_the_rate_at_which_it_goes_down() {
        let mut admission = Admission::default();
        assert_eq!(look(&mut admission, 0, 1000), Some(5), "nothing is measured yet");
        let waits: Vec<u64> = (1..=20).map(|second| look(&mut admission, second, 1000 - second).unwrap()).collect();
        // One unit a second, and 300 - 20 of them to go.
        assert!((280..=285).contains(&waits[19]), "{waits:?}");
        let rising = (21..60).map(|second| look(&mut admission, second, 960 + second)).last();
        assert_eq!(rising, Some(Some(60)), "it does not go down");
    }
}
