//! Every request and its answer, as the customers saw them.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Exchange {
    /// When it was sent, in milliseconds since the start of the run.
    pub sent: u64,
    /// When it was answered or given up.
    pub answered: u64,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
    /// Its `Idempotency-Key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its `If-Match`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_match: Option<String>,
    /// Its `Prefer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefer: Option<String>,
    /// Its body; null where it has none.
    pub body: Value,
    /// The status of the answer; 0 where none came.
    pub status: u16,
    /// The seconds of its `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The body of the answer; null where none came.
    pub answer: Value,
}

impl Exchange {
    /// Returns whether the answer says that the request is taken on or carried out.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns whether the answer is the last word on the request: neither missing nor "try again".
    #[must_use]
    pub fn is_definite(&self) -> bool {
        (200..500).contains(&self.status)
    }
}

/// Where exchanges are kept: in a file as they happen, a JSON object a line, and in memory.
#[derive(Debug)]
pub struct History {
    start: Instant,
    kept: Mutex<(File, Vec<Exchange>)>,
}

impl History {
    /// Begins a history.
    ///
    /// # Errors
    ///
    /// Where the file cannot be made.
    pub fn begin(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { start: Instant::now(), kept: Mutex::new((file, Vec::new())) })
    }

    /// Returns the milliseconds since the start.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Keeps an exchange.
    pub fn add(&self, exchange: Exchange) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let line = serde_json::to_string(&exchange).map_err(std::io::Error::from);
        if let Err(error) = line.and_then(|line| writeln!(kept.0, "{line}")) {
            tracing::error!(%error, "the history cannot be written");
        }
        kept.1.push(exchange);
    }

    /// Returns all that was kept so far.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}
