//! Consistency checks: the invariants of a system, compared with the reports of its services and streams.
//!
//! The library checks outboxes, consumers, and dead letters; a system adds its own checks to the [`Watcher`]. A check of
//! one service's data is decided by one reply of it. A check across services compares replies from several moments: a
//! mismatch while messages are under way is settling, and a violation only if it persists while no message is under way.
//!
//! In reading order: `board` has the results; `observe` queries; `flow` checks the flow of messages; `judge` decides;
//! `watcher` repeats the checks.

mod board;
mod flow;
mod judge;
mod observe;
mod watcher;

pub use board::{Board, Check, Findings, MAX_NAMED, Reply, Status, Violation, Waiting};
pub use flow::{MAX_OUTBOX_AGE_MS, once};
pub use judge::Judge;
pub use observe::{DeadLetters, Lag, Observed, Queries};
pub use watcher::{Decide, Watcher};
