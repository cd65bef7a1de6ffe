#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! There is a folder per direction of flow. A folder imports only those listed before it:
//!
//! - `wire`: [`message`] declares messages as types; [`envelope`] is the message format, with derived message ids;
//!   [`text`]: checked texts, such as ids;
//! - `telemetry`: [`health`], [`metrics`], [`spans`], and [`output`], which never blocks on a reader;
//! - `broker`: [`connection`] with [`credentials`]; [`topology`] declares streams and consumers, [`provision`] creates them, [`declaration`] the messages of
//!   a service, [`user`] its user at nats-server, [`catalogue`] lists those of a system, `asyncapi` (feature `schemas`) is its document; [`clock`] is the server's time;
//!   [`durability`] that of acknowledged messages; [`broker_storage`] its storage; [`direct`] reads a stream without a consumer, [`replay`] decodes it;
//!   `limits` of message sizes;
//! - `state`: [`database`] and its [`statement`]s; `fault` tells outages from errors of a message; [`event_store`] with its [`event_page`]s and [`snapshot`]s,
//!   [`tracked`], [`documents`], and [`effects`] are building blocks for handlers; `delivery_issue` records failures, duplicates, and dead letters;
//!   [`storage`] watches disk space;
//! - `outbound`: `outbox` and [`outbox_pending`], published by `relay` (`atomic`: atomic batches; `in_flight`:
//!   unacknowledged publishes; `refusals`: back-off; `scan`: the recovery scan; `owner`: ownership of pending batches);
//!   [`dead_letter`]s; [`publisher`] sends commands outside a transaction;
//! - `inbound`: `consumer` pulls deliveries; `processor` handles a batch of them (`item`) in one transaction with
//!   `inbox` and outbox, by the [`handler`] that a service implements, or that [`each`] and
//!   [`event_sourced`] make, with its `deadline`s; [`policies`]; `retry` after a `failure`, and of an `unknown_version`; [`redrive`] handles
//!   dead letters again; [`position`] detects lost messages; [`query`] serves requests, [`history`] the event store, [`time_travel`] earlier states; [`testing`] processes messages
//!   without a broker;
//! - [`projection`]s: read models of events, with their positions;
//! - `admin`: [`trace`], the state of one business id in a service; [`stats`] of its outbox; [`republish`], which restores
//!   a stream from the outboxes;
//! - `runtime`: [`builder`] of a [`service`], which runs from start to `shutdown` with its `options`; `needs`: the
//!   streams at the start; `retention`: the dedup horizon; `web`: address and routes; [`listener`]: the HTTP server with [`probes`] and `scrape`;
//!   [`migration`]s of the library's tables; [`process`]: logging and signals.
//!
//! Beside them, [`setting`] parses configuration at the start, and [`mod@http`] is the HTTP client.
//!
//! The entities of the library's tables are no part of its API: they are public, and hidden, for tests. Operators read
//! [`stats`], [`trace`], and [`outbox_pending`]; [`event_store::load`] returns the history of aggregates.
//!
//! Invariants: inbox rows, state, and outbox rows commit together or not at all; the inbox insert is the first
//! statement; the ack follows the commit; no network call inside the transaction.

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
compile_error!("choreography needs a database: enable its feature `sqlite` or `postgres`, or both");

mod admin;
mod broker;
pub mod http;
mod inbound;
mod outbound;
pub mod projection;
mod runtime;
pub mod setting;
mod state;
mod telemetry;
mod wire;

pub use admin::{republish, stats, trace};
#[cfg(feature = "schemas")]
pub use broker::asyncapi;
pub use broker::{
    broker_storage, catalogue, clock, connection, credentials, declaration, direct, durability, provision, replay,
    topology, user,
};
#[doc(hidden)]
pub use inbound::inbox;
pub use inbound::{event_sourced, handler, history, policies, position, query, redrive, testing, time_travel};
pub use outbound::{dead_letter, outbox_pending, publisher};
#[doc(hidden)]
pub use outbound::{outbox, owner};
pub use runtime::{builder, migration, process, service};
#[cfg(feature = "http")]
pub use runtime::{listener, probes};
#[doc(hidden)]
pub use state::delivery_issue;
pub use state::{database, documents, effects, event_page, event_store, snapshot, statement, storage, tracked};
pub use telemetry::{health, metrics, output, spans};
pub use wire::{auth, envelope, message, text};

pub use builder::{BuildError, ServiceBuilder};
pub use declaration::{Declaration, DeclarationError};
pub use durability::Durability;
pub use envelope::{Auth, AuthType, Cause, Envelope, Outgoing, Timing};
pub use event_sourced::{Changed, Deadline, Decider, EventSourced};
pub use handler::{AggregateStatus, HandleError, Handler};
pub use health::Health;
pub use inbound::each::{Each, HandleOne, each};
#[doc(hidden)]
pub use message::private as __private;
pub use message::{
    Command, DecodeError, Event, Kind, Message, MessageInfo, Messages, Publish, Timer, UnknownVersion,
};
pub use outbound::relay_handle::Outbox;
pub use policies::Policies;
pub use projection::Projection;
pub use runtime::options::ServiceOptions;
pub use service::{Running, Service};
pub use snapshot::Snapshots;
pub use topology::Topology;
pub use tracked::Tracked;
pub use wire::encoding::EncodeError;
