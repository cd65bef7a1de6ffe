//! The running demo broken on purpose, with real processes; and who may do so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod breaking;
mod outsiders;
mod proxy;
mod settings;
mod support;
