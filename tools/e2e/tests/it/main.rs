//! End-to-end tests of the shop: processes, HTTP, and the broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod accounts;
mod backpressure;
mod cancelling;
mod choreography;
mod consumers;
mod deadlines;
mod edges;
mod explaining;
mod faults;
mod idempotence;
mod inspection;
mod invariants;
mod notifications;
mod payments;
mod rebuilding;
mod reconciliation;
mod recovery;
mod restoring;
mod secrets;
mod support;
mod telemetry;
mod transport;
