//! For operators: finding and repairing what went wrong, without a service's database or password.
//!
//! Everything goes over NATS as one user, `operator`. In reading order:
//!
//! - [`operator`]: the connection;
//! - [`dead_letters`]: listed, shown, sent back to the one service that dead-lettered them, deleted with a reason;
//! - [`explain`](mod@explain): what happened about one order, across all services, and what it waits for;
//! - [`invariants`]: whether everything is consistent;
//! - [`restore`](mod@restore): a stream filled again from the services' outboxes;
//! - [`cli`], `print`: the program; the gateway uses the rest as a library.

pub mod cli;
pub mod dead_letters;
pub mod explain;
pub mod invariants;
pub mod operator;
mod print;
pub mod restore;

pub use cli::Cli;
pub use operator::{OPERATOR, Operator};
