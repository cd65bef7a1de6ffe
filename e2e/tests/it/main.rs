//! The store from outside: processes, HTTP, and the broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod books;
mod cancelling;
mod choreography;
mod faults;
mod idempotence;
mod inspection;
mod payments;
mod recovery;
mod support;
