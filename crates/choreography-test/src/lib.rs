//! nats-server and PostgreSQL as child processes on this machine, found or installed; for the demo
//! and for tests.
//!
//! Real servers instead of fakes: only a real one redelivers, refuses, disconnects, and recovers. Each server
//! listens on 127.0.0.1. It can be killed, paused, and restarted with the same port and data. It never outlives the
//! process that started it, however that process ends.
//!
//! In reading order:
//!
//! - [`nats`]: finds or installs nats-server, runs it ([`NatsServer`]), and runs it for one test ([`TestNats`]);
//! - [`postgres`]: the same for PostgreSQL ([`PostgresServer`], [`TestPostgres`]);
//! - `tools`: the folder that servers are installed into;
//! - `process`: a child process, its output, and the guard that ends it with its parent;
//! - `scratch`, `ports`: temporary folders and free ports.
//!
//! This crate knows no streams, users, or tables: the caller passes config file and passwords.

pub mod nats;
pub mod postgres;

mod error;
mod ports;
mod process;
mod program;
mod scratch;
mod tools;

pub use error::Error;
pub use nats::{NatsServer, TestNats};
pub use ports::free_port;
pub use postgres::{PostgresServer, TestPostgres};
pub use program::{Program, ProgramSettings};
pub use tools::Places;
