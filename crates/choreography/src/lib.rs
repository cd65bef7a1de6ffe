//! Idempotent, batched messaging on NATS JetStream: the library for systems of choreographed services.
//!
//! The library contains no business logic. A service supplies a database, a [`Handler`] for the closed set of messages
//! that it understands, and [`query::Endpoint`]s for its queries; [`Service::run`] does the rest. `docs/patterns.md`
//! explains the patterns, such as inbox and outbox. In reading order:
//!
//! - [`envelope`]: the message format, and derived message ids;
//! - [`handler`]: the interface that a service implements;
//! - `processor`: handles a batch of deliveries (`item`) in one transaction with [`inbox`] and [`outbox`];
//! - `consumer` pulls deliveries; `relay` publishes the outbox (`atomic`: atomic batches; `in_flight`: unacknowledged
//!   publishes; `refusals`: back-off; `scan`: the recovery scan; [`owner`]: ownership of pending batches; `limits`:
//!   message sizes);
//! - [`dead_letter`]: messages that could not be handled; [`delivery_issue`]: failures, duplicates, and dead letters
//!   per message; [`redrive`]: handling dead letters again;
//! - [`trace`]: the state of one business id in a service; [`stats`]: outbox statistics; [`republish`]: restoring a
//!   stream from the outboxes;
//! - [`event_store`], [`effects`], [`statement`]: building blocks for handlers;
//! - [`topology`]: streams and consumers from a declaration; `retention`: the dedup horizon; [`clock`]: the server's
//!   time; [`durability`]: the durability of acknowledged messages;
//! - [`direct`]: reading a stream without a consumer; [`replay`]: decoding a stream again that way;
//! - [`query`], [`publisher`]: queries, and commands published outside a transaction;
//! - [`storage`]: the size of the database, and the free space of its disk;
//! - [`metrics`], [`spans`]: Prometheus metrics and OpenTelemetry spans;
//! - [`setting`]: parsers of settings, applied at the start;
//! - [`listener`]: the HTTP server; [`mod@http`]: the HTTP client; [`output`]: non-blocking output of log lines;
//! - [`service`] (`shutdown`: the shutdown sequence), [`connection`], [`database`], [`migration`], [`health`],
//!   [`probes`], [`process`]: the wiring.
//!
//! Invariants: inbox rows, state, and outbox rows commit together or not at all; the inbox insert is the first
//! statement; the ack follows the commit; no network call inside the transaction.

mod admin;
mod broker;
pub mod http;
mod inbound;
mod outbound;
mod runtime;
pub mod setting;
mod state;
mod telemetry;
mod wire;

pub use admin::{republish, stats, trace};
pub use broker::{clock, connection, direct, durability, replay, topology};
pub use inbound::{handler, inbox, position, query, redrive};
pub use outbound::{dead_letter, outbox, outbox_pending, owner, publisher};
pub use runtime::{listener, migration, probes, process, service};
pub use state::{database, delivery_issue, effects, event_store, statement, storage};
pub use telemetry::{health, metrics, output, spans};
pub use wire::envelope;

pub use durability::Durability;
pub use envelope::{Cause, Decode, Envelope, Outgoing, Producer, Timing};
pub use handler::{AggregateStatus, HandleError, Handler};
pub use health::Health;
pub use outbound::relay_handle::Outbox;
pub use service::{Service, ServiceOptions};
pub use topology::Topology;
