//! How many connections are open at a time.
//!
//! Beyond the limit a few places are kept. A connection there is short: it answers probes and `/metrics`, and tells
//! everybody else to come again. So an overloaded program can be told from a dead one.

use std::sync::{Arc, LazyLock};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics;

/// The places that are kept for probes.
const RESERVE: usize = 8;

/// What is counted of connections.
pub(super) struct Counted {
    pub(super) open: Gauge,
    pub(super) refused: Counter,
    pub(super) cut_off: Counter,
    pub(super) accept_errors: Counter,
}

pub(super) static COUNTED: LazyLock<Counted> = LazyLock::new(|| Counted {
    open: metrics::registered("http_connections", "Connections that are open", Gauge::default()),
    refused: metrics::registered(
        "http_requests_refused",
        "Requests refused because as many connections are open as are served",
        Counter::default(),
    ),
    cut_off: metrics::registered(
        "http_connections_cut_off",
        "Connections closed because the client did not read",
        Counter::default(),
    ),
    accept_errors: metrics::registered(
        "http_accept_errors",
        "Failures to accept a connection, for want of file descriptors, buffers, or memory",
        Counter::default(),
    ),
});

/// The places of one listener.
#[derive(Debug, Clone)]
pub(super) struct Places {
    regular: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    limit: usize,
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) is_reserve: bool,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        COUNTED.open.dec();
    }
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self { regular: Arc::new(Semaphore::new(limit)), reserve: Arc::new(Semaphore::new(RESERVE)), limit }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Waits until there is a place of either kind.
    pub(super) async fn wait(&self) {
        let regular = async { self.regular.acquire().await.map(drop) };
        let reserve = async { self.reserve.acquire().await.map(drop) };
        // Semaphores that nobody closes.
        tokio::select! { _ = regular => {}, _ = reserve => {} }
    }

    /// Takes a place, one of the reserve when there is no other or when `is_last`. Nothing when none is left.
    pub(super) fn take(&self, is_last: bool) -> Option<Place> {
        let regular = if is_last { None } else { self.regular.clone().try_acquire_owned().ok() };
        let (permit, is_reserve) = match regular {
            Some(permit) => (permit, false),
            None => (self.reserve.clone().try_acquire_owned().ok()?, true),
        };
        COUNTED.open.inc();
        Some(Place { is_reserve, _permit: permit })
    }

    /// Returns whether enough places are free again that it is worth saying so.
    pub(super) fn has_room(&self) -> bool {
        self.regular.available_permits() >= self.limit / 8
    }
}
