//! Message rates per producer and consumer, and order latencies. Pure; callers pass the time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use choreography::Kind;
use contracts::catalogue::{Consumers, messages};
use time::OffsetDateTime;

use super::representation::{OverviewEdge, OverviewLatency, OverviewOrders};

/// The number of states that rates and latencies cover.
const WINDOW: usize = 10;
/// The maximum number of orders whose placing time is kept.
const MAX_PLACED: usize = 100_000;
/// The maximum number of latencies per state.
const MAX_LATENCIES: usize = 20_000;
/// The maximum number of messages in a sample.
pub(super) const MAX_SHOWN: usize = 20;

const PLACED: &str = "order.placed.v1";
const FINAL: [&str; 2] = ["order.confirmed.v1", "order.cancelled.v1"];

/// The producer and the consumers of a message type.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) kind: &'static str,
    pub(super) from: &'static str,
    pub(super) to: Vec<String>,
}

/// The routes of all declared commands and events, by type.
pub(super) fn routes(consumers: &Consumers) -> BTreeMap<&'static str, Route> {
    let published = messages().filter(|message| message.kind != Kind::Timer);
    let routes = published.map(|message| {
        let to = consumers.of(message).into_iter().map(str::to_owned).collect();
        (message.message_type, Route { kind: message.kind.as_str(), from: message.producer, to })
    });
    routes.collect()
}

/// The messages between two states.
#[derive(Debug)]
struct Second {
    since: Instant,
    published: HashMap<&'static str, u64>,
    /// In milliseconds.
    latencies: Vec<f64>,
}

impl Second {
    fn new(since: Instant) -> Self {
        Self { since, published: HashMap::new(), latencies: Vec::new() }
    }
}

/// The messages of the last ten seconds.
#[derive(Debug)]
pub(super) struct MessageRates {
    routes: BTreeMap<&'static str, Route>,
    seconds: VecDeque<Second>,
    /// When orders were placed, by order id.
    placed: HashMap<String, OffsetDateTime>,
    /// Their ids, oldest first; some are final.
    in_order: VecDeque<String>,
}

impl MessageRates {
    pub(super) fn new(routes: BTreeMap<&'static str, Route>, now: Instant) -> Self {
        let seconds = VecDeque::from([Second::new(now)]);
        Self { routes, seconds, placed: HashMap::new(), in_order: VecDeque::new() }
    }

    /// Returns the producer and the consumers of a message type.
    pub(super) fn route(&self, message_type: &str) -> Option<&Route> {
        self.routes.get(message_type)
    }

    /// Records a message: its type, its key, and when the stream stored it.
    pub(super) fn record(&mut self, message_type: &str, key: &str, at: OffsetDateTime) {
        let Some((&message_type, _)) = self.routes.get_key_value(message_type) else { return };
        if message_type == PLACED {
            self.place(key, at);
        }
        let finished = if FINAL.contains(&message_type) { self.placed.remove(key) } else { None };
        let Some(second) = self.seconds.back_mut() else { return };
        *second.published.entry(message_type).or_default() += 1;
        if let Some(placed) = finished
            && second.latencies.len() < MAX_LATENCIES
        {
            second.latencies.push((at - placed).as_seconds_f64() * 1000.0);
        }
    }

    fn place(&mut self, key: &str, at: OffsetDateTime) {
        if self.in_order.len() >= MAX_PLACED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.placed.remove(&oldest);
        }
        if self.placed.insert(key.to_owned(), at).is_none() {
            self.in_order.push_back(key.to_owned());
        }
    }

    /// Returns the rates and latencies of the window, and begins the next second.
    pub(super) fn sum_up(&mut self, now: Instant) -> (Vec<OverviewEdge>, OverviewOrders) {
        let elapsed = self.seconds.front().map_or(Duration::ZERO, |first| now.duration_since(first.since));
        let elapsed = elapsed.max(Duration::from_secs(1)).as_secs_f64();
        let published = |message_type: &str| {
            self.seconds.iter().filter_map(|second| second.published.get(message_type)).sum::<u64>()
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |count: u64| (count as f64 / elapsed * 10.0).round() / 10.0;
        let edges = self.routes.iter().flat_map(|(message_type, route)| {
            let per_second = rate(published(message_type));
            route.to.iter().map(move |to| OverviewEdge {
                from: route.from.to_owned(),
                to: to.clone(),
                r#type: (*message_type).to_owned(),
                kind: route.kind.to_owned(),
                per_second,
            })
        });
        let edges = edges.collect();
        let mut latencies: Vec<f64> =
            self.seconds.iter().flat_map(|second| second.latencies.iter().copied()).collect();
        latencies.sort_unstable_by(f64::total_cmp);
        let orders = OverviewOrders {
            placed_per_second: rate(published(PLACED)),
            final_per_second: rate(FINAL.into_iter().map(published).sum()),
            latency_milliseconds: OverviewLatency {
                p50: percentile(&latencies, 50).into(),
                p99: percentile(&latencies, 99).into(),
            },
            finals: latencies.len() as u64,
        };
        self.seconds.push_back(Second::new(now));
        if self.seconds.len() > WINDOW {
            self.seconds.pop_front();
        }
        (edges, orders)
    }
}

/// Returns a percentile, rounded to tenths.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|value| (value * 10.0).round() / 10.0)
}

/// An even sample of any number of messages; it keeps at most twice as many as it returns.
#[derive(Debug)]
pub(super) struct Sample<T> {
    kept: Vec<T>,
    /// One of `stride` messages is kept.
    stride: u64,
    seen: u64,
}

impl<T> Sample<T> {
    pub(super) fn new() -> Self {
        Self { kept: Vec::new(), stride: 1, seen: 0 }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.seen.is_multiple_of(self.stride) {
            if self.kept.len() == 2 * MAX_SHOWN {
                let mut index = 0;
                self.kept.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
            if self.seen.is_multiple_of(self.stride) {
                self.kept.push(item);
            }
        }
        self.seen += 1;
    }

    /// Counts messages that were skipped.
    pub(super) fn miss(&mut self, count: u64) {
        self.seen += count;
    }

    /// Returns the sample and the number of messages, and begins a new sample.
    pub(super) fn take(&mut self) -> (Vec<T>, u64) {
        let Self { kept, seen, .. } = std::mem::replace(self, Self::new());
        let count = kept.len();
        let shown = count.min(MAX_SHOWN);
        // The i-th message of the result is at i × count / shown.
        let mut next = 0;
        let taken = kept.into_iter().enumerate().filter_map(|(index, item)| {
            (next < shown && index == next * count / shown).then(|| {
                next += 1;
                item
            })
        });
        (taken.collect(), seen)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates(start: Instant) -> MessageRates {
        MessageRates::new(routes(&Consumers::declared().unwrap_or_else(|error| panic!("{error}"))), start)
    }

    #[test]
    fn rates_are_of_the_last_ten_seconds() {
        let start = Instant::now();
        let mut rates = rates(start);
        let at = OffsetDateTime::UNIX_EPOCH;
        let second = |n: u64| start + Duration::from_secs(n);
        for n in 1..=30 {
            for order in 0..(if n <= 15 { 100 } else { 20 }) {
                rates.record(PLACED, &format!("{n}-{order}"), at);
            }
            let (edges, orders) = rates.sum_up(second(n));
            let expected = if n <= 15 {
                100.0
            } else if n >= 25 {
                20.0
            } else {
                continue;
            };
            assert_eq!(orders.placed_per_second.to_string(), f64::to_string(&expected));
            let placed: Vec<&OverviewEdge> = edges.iter().filter(|edge| edge.r#type == PLACED).collect();
            assert_eq!(placed.len(), 2);
            assert!(placed.iter().all(|edge| (edge.per_second - expected).abs() < 0.1));
        }
    }

    #[test]
    fn a_latency_is_from_placed_to_final_of_the_same_order() {
        let start = Instant::now();
        let mut rates = rates(start);
        let at = |ms: i64| OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(ms);
        for (order, latency) in (1..=100).map(|n| (format!("O-{n}"), n)) {
            rates.record(PLACED, &order, at(0));
            rates.record("order.confirmed.v1", &order, at(latency));
        }
        rates.record("order.cancelled.v1", "never-placed", at(5));
        let (_, orders) = rates.sum_up(start + Duration::from_secs(1));
        assert_eq!((orders.finals, orders.final_per_second.to_string()), (100, "101".to_owned()));
        let json = poem_openapi::types::ToJSON::to_json(&orders.latency_milliseconds).unwrap_or_default();
        assert_eq!(json, serde_json::json!({"p50": 50.0, "p99": 99.0}));
        assert!(rates.placed.is_empty());
    }

    #[test]
    fn the_number_of_kept_orders_is_bounded() {
        let mut rates = rates(Instant::now());
        for n in 0..MAX_PLACED + 1000 {
            rates.record(PLACED, &n.to_string(), OffsetDateTime::UNIX_EPOCH);
        }
        assert_eq!((rates.placed.len(), rates.in_order.len()), (MAX_PLACED, MAX_PLACED));
    }

    proptest! {
        #[test]
        fn a_sample_is_small_even_and_in_order(count in 0_usize..5000) {
            let mut sample = Sample::new();
            (0..count).for_each(|n| sample.push(n));
            let (shown, seen) = sample.take();
            prop_assert_eq!(seen, count as u64);
            prop_assert_eq!(shown.len(), count.min(MAX_SHOWN).max(shown.len().min(MAX_SHOWN)));
            prop_assert!(shown.len() >= count.min(MAX_SHOWN));
            prop_assert!(shown.is_sorted());
            let gaps = shown.windows(2).map(|pair| pair[1] - pair[0]);
            let (min, max) = gaps.fold((usize::MAX, 0), |(min, max), gap| (min.min(gap), max.max(gap)));
            prop_assert!(shown.len() < 2 || max <= 2 * min, "{:?}", shown);
        }
    }
}
