//! The store from outside: processes, HTTP, and the broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod accounts;
mod backpressure;
mod books;
mod cancelling;
mod choreography;
mod deadlines;
mod edges;
mod explaining;
mod faults;
mod idempotence;
mod inspection;
mod invariants;
mod listeners;
mod notifications;
mod payments;
mod rebuilding;
mod recovery;
mod refilling;
mod support;
mod telemetry;
