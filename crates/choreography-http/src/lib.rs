#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! A module imports only those listed before it:
//!
//! - [`code`], [`problem`]: the one mapping of errors to HTTP, with the codes of the library and of the application;
//!   [`json`]: output;
//! - [`parameter`], [`form`], [`body`]: input, parsed at the edge, with its schema;
//! - [`idempotency`]: keys and the ids of commands; `publishing` tracks outcomes; [`streams`] measures capacity;
//!   [`commands`] publishes;
//! - [`queries`] relays; [`waiter`] holds a response until the outcome of a command is known; [`sending`] does both for a
//!   command;
//! - [`sse`]: server-sent events; [`stream_follower`] reads a stream; [`feed`] serves its messages, [`overview`] the
//!   state of the system;
//! - [`auth`]: access tokens, rights, and their enforcement;
//! - `telemetry`: the metrics and spans of requests; [`router`]: the rules for every request;
//! - [`gateway`]: all of it as one program; [`access`]: its permissions at nats-server.
//!
//! Invariants: nothing of an invalid request reaches a stream; every wait has a time limit; a request that got 503 can
//! be repeated.

pub mod access;
pub mod auth;
pub mod body;
pub mod code;
pub mod commands;
pub mod feed;
pub mod form;
pub mod gateway;
pub mod idempotency;
pub mod json;
pub mod overview;
pub mod parameter;
pub mod problem;
mod publishing;
pub mod queries;
pub mod router;
pub mod sending;
pub mod sse;
pub mod stream_follower;
pub mod streams;
mod telemetry;
pub mod waiter;
