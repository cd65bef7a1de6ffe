//! Metrics by prometheus-client, in one registry per process.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{LazyLock, Mutex, PoisonError};

use prometheus_client::encoding::text;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::{Metric, Registry};

use super::Labels;

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

/// Creates one counter. `name` has no `_total`; call it once per name.
pub(crate) fn counter(name: &str, help: &str) -> Counter {
    registered(name, help, Counter::default())
}

/// Creates one gauge of a whole number. Call it once per name.
#[cfg(feature = "http")]
pub(crate) fn gauge(name: &str, help: &str) -> Gauge {
    registered(name, help, Gauge::default())
}

/// Creates one histogram of sizes, from 1 to 256. Call it once per name.
pub(crate) fn sizes(name: &str, help: &str) -> Histogram {
    registered(name, help, Histogram::new(exponential_buckets(1.0, 2.0, 9)))
}

fn registered<M: Clone + Metric>(name: &str, help: &str, metric: M) -> M {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, metric.clone());
    metric
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.5, 13))
}

/// Returns the metrics of this process in the OpenMetrics text format, for a program with a server of its own.
///
/// # Errors
///
/// If a metric cannot be written.
pub fn text() -> Result<String, fmt::Error> {
    let mut written = String::new();
    let registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    text::encode(&mut written, &registry).map(|()| written)
}

/// Returns the response for `GET /metrics` with the metrics of this process.
#[cfg(feature = "http")]
pub fn exposition() -> poem::Response {
    match text() {
        Ok(text) => {
            let response = poem::Response::builder();
            response.content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(text)
        }
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            poem::http::StatusCode::INTERNAL_SERVER_ERROR.into()
        }
    }
}
