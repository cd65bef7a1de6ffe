//! The operator's program and library: finds and repairs problems, without a service's database or password.
//!
//! It connects to NATS as one user, `operator`. In reading order:
//!
//! - [`operator`]: the connection;
//! - [`dead_letters`]: lists, shows, redrives, and deletes dead letters;
//! - [`explain`](mod@explain): the timeline of one order across all services, and its blockers;
//! - [`invariants`]: the consistency checks;
//! - [`restore`](mod@restore): restores a stream from the outboxes of the services;
//! - [`cli`], `print`: the program. The gateway uses the other modules as a library.

pub mod cli;
pub mod dead_letters;
pub mod explain;
pub mod invariants;
pub mod operator;
mod print;
pub mod restore;

pub use cli::Cli;
pub use operator::{OPERATOR, Operator};
