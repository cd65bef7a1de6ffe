//! Consistency checks: the invariants of the shop, compared with the reports of its services and streams.
//!
//! A check of one service's data is decided by one reply of it. A check across services compares replies from several
//! moments: a mismatch while messages are under way is settling, and a violation only if it persists while no message
//! is under way. In reading order: this module holds the results, `observe` queries, `judge` decides.

mod judge;
mod observe;

use std::time::{Duration, Instant};

use choreography::Topology;
use serde::Serialize;

use crate::Operator;
use judge::Judge;

/// How long a mismatch must persist to be a violation.
pub const PERSISTS: Duration = Duration::from_millis(1500);
/// The maximum number of violations and waits listed per check.
const MAX_NAMED: usize = 20;

/// The results of all checks at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Board {
    /// When the checks were made, RFC 3339.
    pub checked_at: String,
    /// One per invariant.
    pub checks: Vec<Check>,
}

impl Board {
    /// Returns whether every check passes.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.checks.iter().all(|check| check.status == Status::Pass)
    }

    /// Returns whether any check fails.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.checks.iter().any(|check| check.status == Status::Fail)
    }
}

/// Whether an invariant holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds.
    Pass,
    /// It is violated.
    Fail,
    /// A service is unavailable, or messages are under way.
    Unknown,
}

/// The result of checking one invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// The name of the check.
    pub name: &'static str,
    /// The invariant.
    pub title: &'static str,
    /// Whether the invariant holds.
    pub status: Status,
    /// The number of items examined.
    pub examined: u64,
    /// The result in detail, or why the status is unknown.
    pub detail: String,
    /// The number of violations; `violations` lists the first 20.
    pub total: u64,
    /// The violations.
    pub violations: Vec<Violation>,
    /// The number of open orders; `waiting` lists the first 20. Of `orders-end` only.
    pub waiting_total: u64,
    /// The open orders and what they wait for, oldest first. Of `orders-end` only.
    pub waiting: Vec<Waiting>,
}

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// An id that is unique within the check and stable for as long as the violation lasts.
    pub id: String,
    /// The product, account, order, service, or message.
    pub key: String,
    /// What is wrong.
    pub explanation: String,
}

impl Violation {
    /// A violation, one per key of its check.
    fn of(key: impl Into<String>, explanation: impl Into<String>) -> Self {
        let key = key.into();
        Self { id: key.clone(), key, explanation: explanation.into() }
    }

    /// A violation with an id of its own, because its check may have several per key.
    fn identified(self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self }
    }
}

/// An open order and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The id of the order.
    pub key: String,
    /// The service that works on it.
    pub service: String,
    /// What it waits for.
    pub what: String,
    /// When the wait began, RFC 3339.
    pub since: String,
}

/// Repeats the checks and keeps the mismatches of the previous time.
#[derive(Debug)]
pub struct Watcher {
    topology: Topology,
    judge: Judge,
}

impl Watcher {
    /// Makes a watcher without earlier mismatches.
    ///
    /// # Errors
    ///
    /// If the declared topology cannot be read.
    pub fn new() -> anyhow::Result<Self> {
        let topology = Topology::parse(contracts::topology::TOPOLOGY)?;
        Ok(Self { topology, judge: Judge::default() })
    }

    /// Checks once. Unavailable sources are part of the results and not an error.
    pub async fn look(&mut self, operator: &Operator) -> Board {
        let observed = Box::pin(observe::observe(operator, &self.topology)).await;
        self.judge.decide(&observed, Instant::now())
    }

    /// Returns whether a mismatch has not persisted yet, so that a further check could decide it.
    #[must_use]
    pub fn suspects(&self) -> bool {
        self.judge.suspects()
    }
}
