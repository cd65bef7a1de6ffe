//! Prometheus metrics of a process: `GET /metrics` in the OpenMetrics text format.
//!
//! The library counts batches, and messages by type, reason, or stream: all closed sets. A program creates its own
//! [`counters`] or [`histograms`], once per process. Values of the database or the broker (the outbox depth, the
//! consumer lag) are read at each scrape, and are `NaN` if they are unavailable.

#[cfg(not(feature = "metrics"))]
mod none;
#[cfg(feature = "metrics")]
mod prometheus;

use std::sync::LazyLock;
use std::time::Duration;

use crate::wire::reason::Reason;
#[cfg(not(feature = "metrics"))]
pub use none::*;
#[cfg(feature = "metrics")]
pub use prometheus::*;

/// The labels of one series. The values of each label are a closed set.
pub type Labels = Vec<(&'static str, String)>;

/// The metrics of every service.
pub(crate) struct LibraryMetrics {
    pub(crate) handled: Counters,
    pub(crate) failed: Counters,
    pub(crate) durations: Histograms,
    pub(crate) duplicates: Counter,
    pub(crate) dead_letters: Counters,
    pub(crate) lost: Counters,
    pub(crate) batches: Histogram,
    pub(crate) refusals: Counter,
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
        duplicates: counter("messaging_duplicates", "Deliveries dropped as duplicates by the inbox"),
        dead_letters,
        lost: counters(
            "messaging_messages_lost",
            "Messages that a stream deleted before their consumer acknowledged them: at least, or at most if possible",
        ),
        batches: sizes("messaging_batch_messages", "Deliveries in a committed batch"),
        refusals: counter(
            "messaging_outbox_refusals",
            "Publishes that a stream refused or did not acknowledge in time",
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
