//! Times, kept as counts in classes of equal relative width.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::report::Line;
use crate::statistics::number;

/// The longest time that is told apart, in microseconds.
const LONGEST: u64 = 600_000_000;

/// The columns of [`Latencies::row`].
pub const COLUMNS: [&str; 6] = ["what", "count", "p50 ms", "p99 ms", "p99.9 ms", "max ms"];

/// Times of one kind.
#[derive(Debug, Clone)]
pub struct Latencies {
    name: &'static str,
    histogram: Histogram<u64>,
}

impl Latencies {
    /// Begins with none.
    ///
    /// # Errors
    ///
    /// None with these bounds; the library checks them when it runs.
    pub fn new(name: &'static str) -> anyhow::Result<Self> {
        Ok(Self { name, histogram: Histogram::new_with_bounds(1, LONGEST, 3)? })
    }

    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST).max(1));
    }

    /// Adds those of another.
    ///
    /// # Errors
    ///
    /// None with the same bounds.
    pub fn merge(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.histogram.add(&other.histogram)?)
    }

    /// Returns how many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Returns the time within which so many percent lie, in milliseconds.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> f64 {
        number(self.histogram.value_at_percentile(percent)) / 1000.0
    }

    /// Returns a row of a table.
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

    /// Returns the percentiles as a line: to the right, how many nines.
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
    fn percentiles_are_those_of_what_was_added() {
        let mut latencies = Latencies::new("test").unwrap();
        (1..=1000).for_each(|ms| latencies.add(Duration::from_millis(ms)));
        assert_eq!(latencies.count(), 1000);
        assert!((latencies.percentile(50.0) - 500.0).abs() < 1.0);
        assert!((latencies.percentile(99.0) - 990.0).abs() < 2.0);
    }

    #[test]
    fn times_beyond_the_bounds_are_kept_at_them() {
        let mut latencies = Latencies::new("test").unwrap();
        latencies.add(Duration::ZERO);
        latencies.add(Duration::from_secs(100_000));
        assert_eq!(latencies.count(), 2);
        assert!(latencies.percentile(100.0) >= 599_000.0);
    }
}
