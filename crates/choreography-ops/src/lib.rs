//! Operations of systems that are built with [`choreography`]: finds and repairs problems, without a service's database
//! or password.
//!
//! A [`System`] declares streams, consumers, and messages. An [`Operator`] is a connection to it as one user of NATS. In
//! reading order:
//!
//! - [`system`]: the declarations;
//! - [`operator`]: the connection; `error`: why an operation failed;
//! - [`dead_letters`]: lists, shows, redrives, and deletes dead letters;
//! - [`explain`](mod@explain): the timeline of one business id across all services, and its blockers;
//! - [`history`]: the history of an aggregate, and the aggregate as it was;
//! - [`checks`]: the consistency checks of the library, and those of a system;
//! - [`projections`]: lists and changes read models;
//! - [`restore`](mod@restore): restores a stream from the outboxes of the services;
//! - `cli`, `print`: the program, with the feature `cli`.
//!
//! A module imports only those before it.
//!
//! # A program for a system
//!
//! The library checks outboxes, consumers, and dead letters. A hotel adds a check of its own:
//!
#![cfg_attr(feature = "cli", doc = "```no_run")]
#![cfg_attr(not(feature = "cli"), doc = "```ignore")]
//! use std::process::ExitCode;
//!
//! use choreography::Topology;
//! use choreography_ops::checks::{Check, Decide, Findings, Queries, Violation, Watcher};
//! use choreography_ops::{Cli, System};
//! use clap::Parser;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> ExitCode {
//!     Cli::parse().run(hotel, Watcher::new(rooms)).await
//! }
//!
//! fn hotel() -> anyhow::Result<System> {
//!     let topology = Topology::parse(&std::fs::read_to_string("topology.json")?)?;
//!     Ok(System::new(topology).open_states("booking-service", ["requested"]))
//! }
//!
//! async fn rooms(queries: Queries) -> Decide {
//!     let overbooked = queries.ask::<Vec<String>>("booking-service", "booking.query.overbooked", &()).await;
//!     Box::new(move |_| {
//!         let mut findings = Findings::default();
//!         let rooms = findings.read(&overbooked).into_iter().flatten();
//!         findings.violations = rooms.map(|room| Violation::of(room, "it is booked twice")).collect();
//!         let check = Check::new("rooms", "No room is booked twice", 0, "every room is booked once".to_owned());
//!         vec![(check, findings)]
//!     })
//! }
//! ```
//!
//! The example `choreo` is a program for any system: it reads the topology from a file.

pub mod checks;
#[cfg(feature = "cli")]
pub mod cli;
pub mod dead_letters;
mod error;
pub mod explain;
pub mod history;
pub mod operator;
#[cfg(feature = "cli")]
mod print;
pub mod projections;
pub mod restore;
pub mod system;

#[cfg(feature = "cli")]
pub use cli::Cli;
pub use error::OperationError;
pub use operator::{AskError, OPERATOR, Operator};
pub use system::{System, UnknownConsumer};
