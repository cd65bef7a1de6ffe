//! The results of checks.

use serde::Serialize;

/// The maximum number of violations and waits listed per check.
pub const MAX_NAMED: usize = 20;
/// A reply of a service, or why it is missing.
pub type Reply<T> = Result<T, String>;

/// The results of all checks at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
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
    /// The number of items that are in progress; `waiting` lists the first 20.
    pub waiting_total: u64,
    /// The items in progress and what they wait for, oldest first.
    pub waiting: Vec<Waiting>,
    /// The plural of the items in progress, to display.
    #[serde(skip)]
    pub items: &'static str,
}

impl Check {
    /// A check with an unknown result. Its [`Findings`] decide.
    #[must_use]
    pub fn new(name: &'static str, title: &'static str, examined: u64, detail: String) -> Self {
        Self {
            name,
            title,
            status: Status::Unknown,
            examined,
            detail,
            total: 0,
            violations: Vec::new(),
            waiting_total: 0,
            waiting: Vec::new(),
            items: "items",
        }
    }
}

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// An id that is unique within the check and stable for as long as the violation lasts.
    pub id: String,
    /// The business id, service, or message.
    pub key: String,
    /// What is wrong.
    pub explanation: String,
}

impl Violation {
    /// A violation, one per key of its check.
    pub fn of(key: impl Into<String>, explanation: impl Into<String>) -> Self {
        let key = key.into();
        Self { id: key.clone(), key, explanation: explanation.into() }
    }

    /// A violation with an id of its own, because its check may have several per key.
    #[must_use]
    pub fn identified(self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self }
    }
}

/// An item in progress and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The id of the item.
    pub key: String,
    /// The service that works on it.
    pub service: String,
    /// What it waits for.
    pub what: String,
    /// When the wait began, RFC 3339.
    pub since: String,
}

/// The findings of one check.
#[derive(Debug, Default)]
pub struct Findings {
    /// Violations that are certain.
    pub violations: Vec<Violation>,
    /// The number of further violations, which are only counted.
    pub unnamed: u64,
    /// Mismatches, which are violations if they persist while no message is under way.
    pub suspected: Vec<Violation>,
    /// Sources that are unavailable, and why.
    pub unavailable: Vec<String>,
}

impl Findings {
    /// Returns a reply; a missing one is recorded as unavailable.
    pub fn read<'a, T>(&mut self, reply: &'a Reply<T>) -> Option<&'a T> {
        reply.as_ref().map_err(|why| self.unavailable.push(why.clone())).ok()
    }
}
