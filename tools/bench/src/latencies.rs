//! Histograms of latencies.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::report::Line;
use crate::statistics::number;

/// The maximum of the histogram, in microseconds; longer times count as this.
const MAX_MICROSECONDS: u64 = 600_000_000;

/// The columns of [`Latencies::row`].
pub const COLUMNS: [&str; 6] = ["what", "count", "p50 ms", "p99 ms", "p99.9 ms", "max ms"];

/// Latencies of one kind.
#[derive(Debug, Clone)]
pub struct Latencies {
    name: &'static str,
    histogram: Histogram<u64>,
}

impl Latencies {
    /// Makes an empty histogram.
    ///
    /// # Errors
    ///
    /// Never with these bounds, which the crate checks at run time.
    pub fn new(name: &'static str) -> anyhow::Result<Self> {
        Ok(Self { name, histogram: Histogram::new_with_bounds(1, MAX_MICROSECONDS, 3)? })
    }

    /// Adds a latency.
    pub fn add(&mut self, time: Duration) {
        self.histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(MAX_MICROSECONDS).max(1));
    }

    /// Adds the latencies of another histogram.
    ///
    /// # Errors
    ///
    /// Never with the same bounds.
    pub fn merge(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.histogram.add(&other.histogram)?)
    }

    /// Returns the number of latencies.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Returns a percentile, in milliseconds.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> f64 {
        number(self.histogram.value_at_percentile(percent)) / 1000.0
    }

    /// Returns the table row of [`COLUMNS`].
    #[must_use]
    pub fn row(&self) -> Vec<Value> {
        vec![
            json!(self.name),
            json!(self.count()),
            json!(self.percentile(50.0)),
            json!(self.percentile(99.0)),
            json!(self.percentile(99.9)),
            json!(number(self.histogram.max()) / 1000.0),
        ]
    }

    /// Returns the percentiles as a line, over the number of nines.
    #[must_use]
    pub fn line(&self) -> Line {
        let points = [50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99];
        let nines = |percent: f64| -(1.0 - percent / 100.0).log10();
        Line {
            name: self.name.to_owned(),
            points: points.into_iter().map(|percent| (nines(percent), self.percentile(percent))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_added_latencies() {
        let mut latencies = Latencies::new("test").unwrap();
        (1..=1000).for_each(|ms| latencies.add(Duration::from_millis(ms)));
        assert_eq!(latencies.count(), 1000);
        assert!((latencies.percentile(50.0) - 500.0).abs() < 1.0);
        assert!((latencies.percentile(99.0) - 990.0).abs() < 2.0);
    }

    #[test]
    fn latencies_out_of_bounds_are_clamped() {
        let mut latencies = Latencies::new("test").unwrap();
        latencies.add(Duration::ZERO);
        latencies.add(Duration::from_secs(100_000));
        assert_eq!(latencies.count(), 2);
        assert!(latencies.percentile(100.0) >= 599_000.0);
    }
}
