//! Fault injection into a running demo with real processes, its access control, and its settings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod access;
mod declarations;
mod fault_injection;
mod matrix;
mod nats_permissions;
mod proxy;
mod settings;
mod sign_in;
mod support;
