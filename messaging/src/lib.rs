//! Idempotent, batched messaging on NATS JetStream: the library that a system of choreographed services is built from.
//!
//! It knows no order and no stock. A service brings a database, a [`Handler`] over the closed set of messages it
//! understands, and the [`query::Endpoint`]s it answers; [`Service::run`] does the rest. In reading order:
//!
//! - [`envelope`]: what travels, and how ids are derived;
//! - [`handler`]: what a service writes;
//! - `processor`: one delivery (`item`) end to end, in one transaction with [`inbox`] and [`outbox`];
//! - `consumer` pulls into it, `relay` publishes out of it (`atomic`: as batches, where that pays; `in_flight`: what is
//!   not acknowledged; `refusals`: what a stream refuses; `scan`: the recovery scan; [`owner`]: whose a batch is; `limits`:
//!   how large a message may be), [`dead_letter`] says what became of the rest;
//! - [`delivery_issue`]: what is remembered of messages that did not simply go well; [`redrive`] handles a dead letter after all;
//! - [`trace`]: what a service knows of one business id; [`stats`]: how it does; [`republish`]: a stream filled again from the outboxes;
//! - [`event_store`], [`effects`], [`statement`]: what handlers are written with;
//! - [`topology`]: streams and consumers from a declaration; `retention`: the dedup horizon; [`clock`]: the server's time;
//!   [`durability`]: what an acknowledgement is worth;
//! - [`direct`]: messages read out of a stream, past every consumer; [`replay`]: a stream read again so;
//! - [`query`], [`publisher`]: asking and commanding from outside a transaction;
//! - [`storage`]: the size of the database, and the free space of its disk;
//! - [`metrics`], [`spans`]: what Prometheus scrapes, and what an OpenTelemetry collector is told;
//! - [`setting`]: whatever is configured, checked at the start;
//! - [`listener`]: the HTTP server; [`mod@http`]: the HTTP client; [`output`]: lines for a reader that may stand still;
//! - [`service`] (`shutdown`: how it ends), [`connection`], [`database`], [`migration`], [`health`], [`probes`],
//!   [`process`]: the wiring.
//!
//! Invariants: inbox rows, state, and outbox rows commit together or not at all; the inbox insert is the first
//! statement; the ack follows the commit; no network call inside the transaction.

mod atomic;
pub mod clock;
pub mod connection;
mod consumer;
pub mod database;
pub mod dead_letter;
pub mod delivery_issue;
pub mod direct;
pub mod durability;
pub mod effects;
pub mod envelope;
pub mod event_store;
mod fault;
pub mod handler;
pub mod health;
pub mod http;
mod in_flight;
pub mod inbox;
mod item;
mod limits;
pub mod listener;
pub mod metrics;
pub mod migration;
mod migrator;
pub mod outbox;
pub mod outbox_pending;
pub mod output;
pub mod owner;
pub mod position;
pub mod probes;
pub mod process;
mod processor;
pub mod publisher;
pub mod query;
pub mod redrive;
mod refusals;
mod relay;
mod relay_handle;
pub mod replay;
pub mod republish;
mod retention;
mod retry;
mod scan;
pub mod service;
pub mod setting;
mod shutdown;
pub mod spans;
pub mod statement;
pub mod stats;
pub mod storage;
pub mod topology;
pub mod trace;

pub use durability::Durability;
pub use envelope::{Cause, Decode, Envelope, Outgoing, Producer, Timing};
pub use handler::{HandleError, Handler};
pub use health::Health;
pub use outbox::Outbox;
pub use service::{Service, ServiceOptions};
pub use topology::Topology;
pub use trace::AggregateStatus;
