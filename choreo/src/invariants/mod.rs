//! Does everything agree? The promises of the shop, held against what its services and streams say of themselves.
//!
//! A check that one service's books decide is decided by one reading of them. A check across services is of several
//! moments: what does not agree there while messages are under way is settling, and broken only if it stays while
//! nothing is under way. In reading order: this is what is told, `observe` asks, `judge` decides.

mod judge;
mod observe;

use std::time::{Duration, Instant};

use messaging::Topology;
use serde::Serialize;

use crate::Operator;
use judge::Judge;

/// How long what does not agree must stay to be broken.
pub const PERSISTS: Duration = Duration::from_millis(1500);
/// The most things that a check names.
const MAX_NAMED: usize = 20;

/// All checks at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Board {
    /// When they were made, RFC 3339.
    pub at: String,
    /// One a promise.
    pub checks: Vec<Check>,
}

impl Board {
    /// Returns whether every check passes.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.checks.iter().all(|check| check.status == Status::Pass)
    }

    /// Returns whether some check fails.
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
    /// A service does not answer, or messages are under way.
    Unknown,
}

/// The result of checking one invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What it is called.
    pub name: &'static str,
    /// The invariant.
    pub title: &'static str,
    /// Whether the invariant holds.
    pub status: Status,
    /// How many things were examined.
    pub examined: u64,
    /// What was found, or why the status is unknown.
    pub detail: String,
    /// How many violations there are; `violations` names the first 20.
    pub total: u64,
    /// The violations.
    pub violations: Vec<Violation>,
    /// How many things are not finished; `waiting` names the first 20. Of orders only.
    pub waiting_total: u64,
    /// What is not finished, and what it waits for; of orders only.
    pub waiting: Vec<Waiting>,
}

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// What no other violation of the same check has, and what stays the same for as long as the violation does.
    pub id: String,
    /// Which product, account, order, service, or message.
    pub key: String,
    /// What is wrong with it.
    pub explanation: String,
}

impl Violation {
    /// A violation of which its check has one per key.
    fn of(key: impl Into<String>, explanation: impl Into<String>) -> Self {
        let key = key.into();
        Self { id: key.clone(), key, explanation: explanation.into() }
    }

    /// A violation of which its check may have several per key.
    fn identified(self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self }
    }
}

/// Something that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Which order.
    pub key: String,
    /// With which service.
    pub service: String,
    /// For what.
    pub what: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// Looks again and again, and remembers what did not agree the last time.
#[derive(Debug)]
pub struct Watcher {
    topology: Topology,
    judge: Judge,
}

impl Watcher {
    /// Begins.
    ///
    /// # Errors
    ///
    /// Where the declared topology cannot be read.
    pub fn new() -> anyhow::Result<Self> {
        let topology = Topology::parse(contracts::topology::TOPOLOGY)?;
        Ok(Self { topology, judge: Judge::default() })
    }

    /// Looks once. What does not answer is part of what is told; it is no error.
    pub async fn look(&mut self, operator: &Operator) -> Board {
        let observed = Box::pin(observe::observe(operator, &self.topology)).await;
        self.judge.decide(&observed, Instant::now())
    }

    /// Returns whether something does not agree that did not stay yet, so that looking again could tell.
    #[must_use]
    pub fn suspects(&self) -> bool {
        self.judge.suspects()
    }
}
