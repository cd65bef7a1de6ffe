//! Tests of choreographed services: given/when/then without a broker, and real servers for integration tests.
//!
//! - [`Spec`]: given/when/then for one service. It runs the service's own transactions, with inbox and outbox, on SQLite
//!   in memory;
//! - [`published()`], [`scheduled`], [`cancelled`]: the expected messages;
//! - [`ProjectionSpec`]: given events, then rows, for one projection;
//! - [`Flow`]: several services connected by their subjects;
//! - [`on_both_databases`], [`Engine`]: the same tests on SQLite and PostgreSQL;
//! - [`contract`]: what a consumer needs of a message, against what its producer publishes.
//!
//! With the feature `servers` (default), nats-server and PostgreSQL as child processes, found or installed. Only a real
//! server redelivers, refuses, disconnects, and recovers. Each listens on 127.0.0.1. It can be killed, paused, and
//! restarted with the same port and data. It never outlives the process that started it, however that process ends. In
//! reading order:
//!
//! - [`nats`]: finds or installs nats-server, runs it ([`NatsServer`]), for one test ([`TestNats`]), and for a whole system
//!   ([`LocalSystem`]);
//! - [`postgres`]: the same for PostgreSQL ([`PostgresServer`], [`TestPostgres`]);
//! - `tools`: the folder that servers are installed into;
//! - `process`: a child process, its output, and the guard that ends it with its parent;
//! - `scratch`, `ports`: temporary folders and free ports.
//!
//! This crate knows no streams, users, or messages of an application: the caller passes them.

pub mod contract;
mod engine;
mod flow;
mod projected;
mod published;
mod spec;

#[cfg(feature = "servers")]
mod error;
#[cfg(feature = "servers")]
pub mod nats;
#[cfg(feature = "servers")]
mod ports;
#[cfg(feature = "servers")]
pub mod postgres;
#[cfg(feature = "servers")]
mod process;
#[cfg(feature = "servers")]
mod program;
#[cfg(feature = "servers")]
mod scratch;
#[cfg(feature = "servers")]
mod tools;

pub use engine::Engine;
pub use flow::Flow;
pub use projected::ProjectionSpec;
pub use published::{Published, cancelled, published, scheduled};
pub use spec::{START, Spec, SpecError};

#[cfg(feature = "servers")]
pub use {
    error::Error,
    nats::{LocalSystem, NatsServer, TestNats},
    ports::free_port,
    postgres::{PostgresServer, TestPostgres},
    program::{Program, ProgramSettings},
    tools::Places,
};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
