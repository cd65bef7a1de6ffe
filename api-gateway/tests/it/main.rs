//! Tests of the gateway over HTTP, with a real nats-server and its real permissions. The services are third parties
//! here: small responders with the replies that a test sets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics is a test that fails")]

mod accounts;
mod auth;
mod backpressure;
mod bad_accounts;
mod bad_requests;
mod card_numbers;
mod checks;
mod commands;
mod dashboard;
mod docs;
mod entry_points;
mod events;
mod feed;
mod idempotency;
mod invariants;
mod messages;
mod openapi;
mod operations;
mod outage;
mod overview;
mod queries;
mod storage;
mod support;
mod wait;
