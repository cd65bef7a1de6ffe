//! The benchmark measures a shop of real processes, and its report is consistent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod throughput;
