//! Without the feature `metrics`: metrics that store nothing, with the functions of the stored ones.

use std::marker::PhantomData;

use super::Labels;

/// A count.
#[derive(Debug, Clone, Default)]
pub struct Counter;

/// A value that rises and falls.
#[derive(Debug, Clone, Default)]
pub struct Gauge;

/// A distribution of values.
#[derive(Debug, Clone, Default)]
pub struct Histogram;

/// A metric per label values.
#[derive(Debug, Clone, Default)]
pub struct Family<M>(PhantomData<M>);

/// A counter per label values.
pub type Counters = Family<Counter>;
/// A histogram per label values.
pub type Histograms = Family<Histogram>;
/// A gauge per label values.
pub type Gauges = Family<Gauge>;

#[allow(missing_docs, reason = "each does nothing")]
impl Counter {
    pub fn inc(&self) {}
    pub fn inc_by(&self, _count: u64) {}
}

#[allow(missing_docs, reason = "each does nothing")]
impl Gauge {
    pub fn inc(&self) {}
    pub fn dec(&self) {}
    pub fn set(&self, _value: f64) {}
}

#[allow(missing_docs, reason = "it does nothing")]
impl Histogram {
    pub fn observe(&self, _value: f64) {}
}

impl<M: Default> Family<M> {
    /// Returns the metric of label values.
    #[must_use]
    pub fn get_or_create(&self, _labels: &Labels) -> M {
        M::default()
    }
}

/// Creates counters.
#[must_use]
pub fn counters(_name: &str, _help: &str) -> Counters {
    Counters::default()
}

/// Creates histograms of durations in seconds.
#[must_use]
pub fn histograms(_name: &str, _help: &str) -> Histograms {
    Histograms::default()
}

/// Creates gauges.
#[must_use]
pub fn gauges(_name: &str, _help: &str) -> Gauges {
    Gauges::default()
}

pub(crate) fn counter(_name: &str, _help: &str) -> Counter {
    Counter
}

#[cfg(feature = "http")]
pub(crate) fn gauge(_name: &str, _help: &str) -> Gauge {
    Gauge
}

pub(crate) fn sizes(_name: &str, _help: &str) -> Histogram {
    Histogram
}
