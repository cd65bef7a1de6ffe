//! The servers as their users meet them: real ones, really installed, killed and started again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics is a test that fails")]

mod left_behind;
mod nats_install;
mod nats_permissions;
mod nats_server;
mod postgres;
mod support;
