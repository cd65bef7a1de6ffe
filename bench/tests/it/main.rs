//! The benchmark measures a store of real processes, and what it says is consistent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod throughput;
