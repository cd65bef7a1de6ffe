//! The operator's program, on a real nats-server with the permissions of nats.conf.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod checks;
mod dead_letters;
mod explain;
mod interrupted;
mod killed;
mod restore;
mod support;
