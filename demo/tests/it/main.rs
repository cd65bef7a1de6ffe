//! The running demo broken on purpose, with real processes; and who may do so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod access;
mod fault_injection;
mod proxy;
mod settings;
mod support;
