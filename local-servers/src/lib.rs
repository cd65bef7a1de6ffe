//! nats-server and PostgreSQL as child processes on this machine, found or installed; for the demo
//! and for tests.
//!
//! Real servers instead of fakes: only a real one redelivers, refuses, loses its connection or comes
//! back. Each server listens on 127.0.0.1, can be killed, restarted on the same port and data, and
//! paused; and it never outlives the process that started it, however that process ends.
//!
//! In reading order:
//!
//! - [`nats`]: find or install nats-server, run it ([`NatsServer`]), run it for one test ([`TestNats`]);
//! - [`postgres`]: the same for PostgreSQL ([`PostgresServer`], [`TestPostgres`]);
//! - `tools`: the folder that servers are installed into;
//! - `process`: a child process, its output, and the guard that ends it together with its parent;
//! - `scratch`, `ports`: temporary folders and free ports.
//!
//! Absences: this crate knows no stream, no user and no table. A config file and passwords are handed in.

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
