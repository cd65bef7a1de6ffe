//! All requests and responses, as the customers saw them.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request and its response.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Exchange {
    /// When it was sent, in milliseconds since the start of the run.
    pub sent: u64,
    /// When the response arrived or the request failed.
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
    /// Its body; null if absent.
    pub body: Value,
    /// The status of the response; 0 if there was none.
    pub status: u16,
    /// The seconds of its `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The body of the response; null if there was none.
    pub answer: Value,
}

impl Exchange {
    /// Returns whether the response acknowledges the request.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns whether the response is final: neither missing nor a request to retry.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        (200..500).contains(&self.status)
    }
}

/// The exchanges: in a file as they happen, one JSON object per line, and in memory.
#[derive(Debug)]
pub struct History {
    start: Instant,
    kept: Mutex<(File, Vec<Exchange>)>,
}

impl History {
    /// Creates an empty history.
    ///
    /// # Errors
    ///
    /// If the file cannot be created.
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
            tracing::error!(%error, "cannot write the history");
        }
        kept.1.push(exchange);
    }

    /// Returns all exchanges so far.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}
