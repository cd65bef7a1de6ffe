//! Limits the number of open connections.
//!
//! A few places beyond the limit are a reserve. A connection there is short: it serves probes and `/metrics`, and
//! refuses other requests with a retry time. So probes can distinguish an overloaded program from a dead one.

use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::metrics::{self, Counter, Gauge};

/// The number of places reserved for probes.
const RESERVE: usize = 8;

/// The metrics of connections.
pub(super) struct Counted {
    pub(super) open: Gauge,
    pub(super) refused: Counter,
    pub(super) cut_off: Counter,
    pub(super) failed_handshakes: Counter,
    pub(super) accept_errors: Counter,
}

pub(super) static COUNTED: LazyLock<Counted> = LazyLock::new(|| Counted {
    open: metrics::gauge("http_connections", "Open connections"),
    refused: metrics::counter(
        "http_requests_refused",
        "Requests refused because the maximum number of connections was open",
    ),
    cut_off: metrics::counter("http_connections_cut_off", "Connections closed because the client did not read"),
    failed_handshakes: metrics::counter(
        "http_tls_handshakes_failed",
        "Connections that ended before client and server had agreed on TLS",
    ),
    accept_errors: metrics::counter(
        "http_accept_errors",
        "Failures to accept a connection, for lack of file descriptors, buffers, or memory",
    ),
});

/// The places of one listener.
#[derive(Debug, Clone)]
pub(super) struct Places {
    regular: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    limit: usize,
}

/// A place, occupied until it is dropped.
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

    /// Waits for a free place of either kind.
    pub(super) async fn wait(&self) {
        let regular = async { self.regular.acquire().await.map(drop) };
        let reserve = async { self.reserve.acquire().await.map(drop) };
        // These semaphores are never closed.
        tokio::select! { _ = regular => {}, _ = reserve => {} }
    }

    /// Takes a place, from the reserve if there is no other or if `is_last`. `None` if no place is free.
    pub(super) fn take(&self, is_last: bool) -> Option<Place> {
        let regular = if is_last { None } else { self.regular.clone().try_acquire_owned().ok() };
        let (permit, is_reserve) = match regular {
            Some(permit) => (permit, false),
            None => (self.reserve.clone().try_acquire_owned().ok()?, true),
        };
        COUNTED.open.inc();
        Some(Place { is_reserve, _permit: permit })
    }

    /// Returns whether enough places are free again to report it.
    pub(super) fn has_capacity(&self) -> bool {
        self.regular.available_permits() >= self.limit / 8
    }
}
