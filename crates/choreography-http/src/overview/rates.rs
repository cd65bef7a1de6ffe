//! Message rates per producer and consumer, and the latencies of flows. Pure; callers pass the time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use choreography::catalogue::{CatalogueEntry, catalogue};
use choreography::{Declaration, Kind};
use time::OffsetDateTime;

use super::representation::OverviewEdge;

/// The number of states that rates and latencies cover.
const WINDOW: usize = 10;
/// The maximum number of flows whose beginning is kept.
const MAX_BEGUN: usize = 100_000;
/// The maximum number of latencies per state.
const MAX_LATENCIES: usize = 20_000;

/// The producer and the consumers of a message type.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// `command` or `event`.
    pub(super) kind: &'static str,
    /// The producer.
    pub(super) from: &'static str,
    /// The consumers.
    pub(super) to: Vec<String>,
}

/// The routes of the declared commands and events, by type.
pub(super) type Routes = BTreeMap<&'static str, Route>;

/// Returns the routes between services. Timers are left out: a service publishes and consumes its own.
pub(super) fn routes(declarations: &[Declaration]) -> Routes {
    let entries = catalogue(declarations).into_iter().filter(|entry| entry.message.kind != Kind::Timer);
    let routes = entries.map(|CatalogueEntry { message, consumers, .. }| {
        let to = consumers.into_iter().map(str::to_owned).collect();
        (message.message_type, Route { kind: message.kind.as_str(), from: message.producer, to })
    });
    routes.collect()
}

/// The message types at the beginning and at the end of a flow, all with the same key.
#[derive(Debug, Clone, Copy)]
pub struct FlowTypes {
    /// The first message.
    pub first: &'static str,
    /// The messages that end a flow.
    pub last: &'static [&'static str],
}

/// The rates and latencies of flows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowStats {
    /// The rate of flows that began.
    pub begun_per_second: f64,
    /// The rate of flows that ended.
    pub ended_per_second: f64,
    /// The median of the latency in milliseconds, by the server's clock.
    pub p50: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
    /// The number of flows that the latency covers.
    pub ended: u64,
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
    routes: Routes,
    flow: FlowTypes,
    seconds: VecDeque<Second>,
    /// When flows began, by key.
    begun: HashMap<String, OffsetDateTime>,
    /// Their keys, oldest first; some have ended.
    by_age: VecDeque<String>,
}

impl MessageRates {
    pub(super) fn new(routes: Routes, flow: FlowTypes, now: Instant) -> Self {
        let seconds = VecDeque::from([Second::new(now)]);
        Self { routes, flow, seconds, begun: HashMap::new(), by_age: VecDeque::new() }
    }

    /// Returns the producer and the consumers of a message type.
    pub(super) fn route(&self, message_type: &str) -> Option<&Route> {
        self.routes.get(message_type)
    }

    /// Records a message: its type, its key, and when the stream stored it.
    pub(super) fn record(&mut self, message_type: &str, key: &str, at: OffsetDateTime) {
        let Some((&message_type, _)) = self.routes.get_key_value(message_type) else { return };
        if message_type == self.flow.first {
            self.begin(key, at);
        }
        let finished = if self.flow.last.contains(&message_type) { self.begun.remove(key) } else { None };
        let Some(second) = self.seconds.back_mut() else { return };
        *second.published.entry(message_type).or_default() += 1;
        if let Some(begun) = finished
            && second.latencies.len() < MAX_LATENCIES
        {
            second.latencies.push((at - begun).as_seconds_f64() * 1000.0);
        }
    }

    fn begin(&mut self, key: &str, at: OffsetDateTime) {
        if self.by_age.len() >= MAX_BEGUN
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.begun.remove(&oldest);
        }
        if self.begun.insert(key.to_owned(), at).is_none() {
            self.by_age.push_back(key.to_owned());
        }
    }

    /// Returns the rates and latencies of the window, and begins the next second.
    pub(super) fn sum_up(&mut self, now: Instant) -> (Vec<OverviewEdge>, FlowStats) {
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
        let flows = FlowStats {
            begun_per_second: rate(published(self.flow.first)),
            ended_per_second: rate(self.flow.last.iter().copied().map(published).sum()),
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
            ended: latencies.len() as u64,
        };
        self.seconds.push_back(Second::new(now));
        if self.seconds.len() > WINDOW {
            self.seconds.pop_front();
        }
        (edges, flows)
    }
}

/// Returns a percentile, rounded to tenths.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|value| (value * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: FlowTypes = FlowTypes { first: "room.booked.v1", last: &["room.left.v1", "room.cancelled.v1"] };

    fn rates(start: Instant) -> MessageRates {
        let to = |count: usize| ["cleaning", "billing"].iter().take(count).map(ToString::to_string).collect();
        let types = [(FLOW.first, 2), (FLOW.last[0], 1), (FLOW.last[1], 0)];
        let routes = types.map(|(name, count)| (name, Route { kind: "event", from: "rooms", to: to(count) }));
        MessageRates::new(Routes::from(routes), FLOW, start)
    }

    #[test]
    fn rates_are_of_the_last_ten_seconds() {
        let start = Instant::now();
        let mut rates = rates(start);
        let at = OffsetDateTime::UNIX_EPOCH;
        let second = |n: u64| start + Duration::from_secs(n);
        for n in 1..=30 {
            for flow in 0..(if n <= 15 { 100 } else { 20 }) {
                rates.record(FLOW.first, &format!("{n}-{flow}"), at);
            }
            let (edges, flows) = rates.sum_up(second(n));
            let expected = if n <= 15 {
                100.0
            } else if n >= 25 {
                20.0
            } else {
                continue;
            };
            assert_eq!(flows.begun_per_second.to_string(), f64::to_string(&expected));
            let begun: Vec<&OverviewEdge> = edges.iter().filter(|edge| edge.r#type == FLOW.first).collect();
            assert_eq!(begun.len(), 2);
            assert!(begun.iter().all(|edge| (edge.per_second - expected).abs() < 0.1));
        }
    }

    #[test]
    fn a_latency_is_from_the_first_to_the_last_message_of_the_same_key() {
        let start = Instant::now();
        let mut rates = rates(start);
        let at = |ms: i64| OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(ms);
        for (key, latency) in (1..=100).map(|n| (format!("R-{n}"), n)) {
            rates.record(FLOW.first, &key, at(0));
            rates.record(FLOW.last[0], &key, at(latency));
        }
        rates.record(FLOW.last[1], "never-begun", at(5));
        let (_, flows) = rates.sum_up(start + Duration::from_secs(1));
        let (begun, ended) = (100.0, 101.0);
        let expected = FlowStats {
            begun_per_second: begun,
            ended_per_second: ended,
            p50: Some(50.0),
            p99: Some(99.0),
            ended: 100,
        };
        assert_eq!(flows, expected);
        assert!(rates.begun.is_empty());
    }

    #[test]
    fn the_number_of_kept_flows_is_bounded() {
        let mut rates = rates(Instant::now());
        for n in 0..MAX_BEGUN + 1000 {
            rates.record(FLOW.first, &n.to_string(), OffsetDateTime::UNIX_EPOCH);
        }
        assert_eq!((rates.begun.len(), rates.by_age.len()), (MAX_BEGUN, MAX_BEGUN));
    }
}
