//! Prometheus metrics of a process: `GET /metrics` in the OpenMetrics text format.
//!
//! The library counts batches, and messages by type, reason, or stream: all closed sets. A program creates its own
//! [`counters`] or [`histograms`], once per process. Values of the database or the broker (the outbox depth, the
//! consumer lag) are read at each scrape, and are `NaN` if they are unavailable.

use std::sync::atomic::AtomicU64;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use poem::Response;
use poem::http::{StatusCode, header};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::wire::reason::Reason;

/// The labels of one series. The values of each label are a closed set.
pub type Labels = Vec<(&'static str, String)>;
/// A counter per label values.
pub type Counters = Family<Labels, Counter>;
/// A histogram per label values.
pub type Histograms = Family<Labels, Histogram, fn() -> Histogram>;
/// A gauge per label values.
pub type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

/// Creates counters. `name` has no `_total`; call it once per name.
pub fn counters(name: &str, help: &str) -> Counters {
    registered(name, help, Counters::default())
}

/// Creates histograms of durations in seconds, from a millisecond to a minute and a half. Call it once per name.
pub fn histograms(name: &str, help: &str) -> Histograms {
    registered(name, help, Family::new_with_constructor(seconds))
}

/// Creates gauges. Call it once per name.
pub fn gauges(name: &str, help: &str) -> Gauges {
    registered(name, help, Gauges::default())
}

pub(crate) fn registered<M>(name: &str, help: &str, metric: M) -> M
where
    M: Clone + prometheus_client::registry::Metric,
{
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, metric.clone());
    metric
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.5, 13))
}

/// The metrics of every service.
pub(crate) struct LibraryMetrics {
    pub(crate) handled: Counters,
    pub(crate) failed: Counters,
    pub(crate) durations: Histograms,
    pub(crate) duplicates: Counter,
    pub(crate) dead_letters: Counters,
    pub(crate) lost: Counters,
    pub(crate) batches: Histogram,
    pub(crate) outbox_rows: Gauges,
    pub(crate) outbox_oldest: Gauges,
    pub(crate) refusals: Counter,
    pub(crate) unpublishable: Gauges,
    pub(crate) pending: Gauges,
    pub(crate) unacknowledged: Gauges,
}

pub(crate) static LIBRARY_METRICS: LazyLock<LibraryMetrics> = LazyLock::new(|| {
    let dead_letters = counters("messaging_dead_letters", "Messages dead-lettered, by reason");
    for reason in Reason::ALL {
        drop(dead_letters.get_or_create(&vec![("reason", reason.as_str().to_owned())]));
    }
    LibraryMetrics {
        handled: counters("messaging_processed", "Messages handled, by type"),
        failed: counters("messaging_process_failures", "Attempts to handle a message that failed, by type"),
        durations: histograms(
            "messaging_process_duration_seconds",
            "From starting a message, in a batch, to the commit of that batch, by type",
        ),
        duplicates: registered(
            "messaging_duplicates",
            "Deliveries dropped as duplicates by the inbox",
            Counter::default(),
        ),
        dead_letters,
        lost: counters(
            "messaging_messages_lost",
            "Messages that a stream deleted before their consumer acknowledged them: at least, or at most if possible",
        ),
        batches: registered(
            "messaging_batch_messages",
            "Deliveries in a committed batch",
            Histogram::new(exponential_buckets(1.0, 2.0, 9)),
        ),
        outbox_rows: registered(
            "messaging_outbox_pending_messages",
            "Outbox messages that no stream has acknowledged",
            Gauges::default(),
        ),
        outbox_oldest: registered(
            "messaging_outbox_oldest_pending_seconds",
            "Age of the oldest outbox message that no stream has acknowledged",
            Gauges::default(),
        ),
        refusals: registered(
            "messaging_outbox_refusals",
            "Publishes that a stream refused or did not acknowledge in time",
            Counter::default(),
        ),
        unpublishable: registered(
            "messaging_outbox_unpublishable_messages",
            "Outbox messages that their stream can never store",
            Gauges::default(),
        ),
        pending: registered(
            "messaging_consumer_pending",
            "Messages in the stream that were not delivered yet",
            Gauges::default(),
        ),
        unacknowledged: registered(
            "messaging_consumer_ack_pending",
            "Messages delivered and not acknowledged",
            Gauges::default(),
        ),
    }
});

/// Counts a committed batch: its handled messages by type, its duplicates, and its size.
pub(crate) fn committed<'a>(took: Duration, handled: impl Iterator<Item = &'a str>, duplicates: u64, size: usize) {
    let metrics = &*LIBRARY_METRICS;
    let mut types: Vec<(&str, u64)> = Vec::new();
    for message_type in handled {
        match types.iter_mut().find(|(known, _)| *known == message_type) {
            Some((_, count)) => *count += 1,
            None => types.push((message_type, 1)),
        }
    }
    for (message_type, count) in types {
        let labels = vec![("message_type", message_type.to_owned())];
        metrics.handled.get_or_create(&labels).inc_by(count);
        // Export a failure count of zero as well.
        drop(metrics.failed.get_or_create(&labels));
        let durations = metrics.durations.get_or_create(&labels);
        (0..count).for_each(|_| durations.observe(took.as_secs_f64()));
    }
    if duplicates > 0 {
        metrics.duplicates.inc_by(duplicates);
    }
    metrics.batches.observe(figure(size as u64));
}

/// Counts a failed attempt; a message that cannot be decoded has no type.
pub(crate) fn failed(message_type: Option<&str>) {
    let message_type = message_type.unwrap_or("unreadable").to_owned();
    LIBRARY_METRICS.failed.get_or_create(&vec![("message_type", message_type)]).inc();
}

/// Counts a refused publish.
pub(crate) fn refused() {
    LIBRARY_METRICS.refusals.inc();
}

/// Counts a dead letter.
pub(crate) fn dead_lettered(reason: Reason) {
    LIBRARY_METRICS.dead_letters.get_or_create(&vec![("reason", reason.as_str().to_owned())]).inc();
}

/// Counts messages that a stream deleted before their consumer acknowledged them.
pub fn lost(stream: &str, consumer: &str, messages: u64, possible: bool) {
    let possible = possible.to_string();
    let labels = vec![("stream", stream.to_owned()), ("consumer", consumer.to_owned()), ("possible", possible)];
    LIBRARY_METRICS.lost.get_or_create(&labels).inc_by(messages);
}

/// Returns a count as the value of a gauge.
#[allow(clippy::cast_precision_loss, reason = "the last digit of 2^53 does not matter")]
#[must_use]
pub fn figure(count: u64) -> f64 {
    count as f64
}

/// Returns the response for `GET /metrics` with the metrics of this process.
pub fn exposition() -> Response {
    let mut written = String::new();
    let registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    match text::encode(&mut written, &registry) {
        Ok(()) => Response::builder()
            .header(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")
            .body(written),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).finish()
        }
    }
}
