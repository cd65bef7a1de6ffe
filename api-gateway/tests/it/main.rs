//! What the gateway promises over HTTP, with a real nats-server and its real permissions. The services behind it are
//! third parties here: small responders that say what a test wants them to.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics is a test that fails")]

mod accounts;
mod bad_accounts;
mod bad_requests;
mod card_numbers;
mod checks;
mod commands;
mod docs;
mod events;
mod feed;
mod flow;
mod idempotency;
mod invariants;
mod openapi;
mod operations;
mod outage;
mod outside;
mod queries;
mod room;
mod support;
mod wait;
