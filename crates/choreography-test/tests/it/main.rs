//! Given/when/then; real servers, installed, killed, paused, and restarted.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics is a test that fails")]

mod hotel;
mod left_behind;
mod nats_install;
mod nats_server;
mod postgres;
mod spec;
mod support;
