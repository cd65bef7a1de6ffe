//! The health of a process, part by part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// The state of one part of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Whether the part works.
    pub ok: bool,
    /// Why it does not work, or a note; empty if there is neither.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The state of each part of the process. Cheap to clone; all clones share one state.
///
/// A part is declared with [`Health::expect`] and is unready until it reports that it works. Readiness follows
/// progress, not connections: a consumer with pending messages that handles none is unready, however well it is
/// connected.
#[derive(Debug, Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<String, Check>>>,
    /// The prefix of the names of parts set through this clone.
    prefix: String,
}

/// Whether the process is ready, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Whether every part works.
    pub ready: bool,
    /// Each part by name.
    pub checks: BTreeMap<String, Check>,
}

impl Health {
    /// Returns the same state, with parts named `<name>/<part>`: those of a second connection, for example.
    #[must_use]
    pub fn under(&self, name: &str) -> Self {
        Self { checks: self.checks.clone(), prefix: format!("{}{name}/", self.prefix) }
    }

    /// Declares a part that must work before the process is ready.
    pub fn expect(&self, part: &str) {
        self.set(part, Check { ok: false, detail: "starting".to_owned() });
    }

    /// Reports that a part works.
    pub fn ok(&self, part: &str) {
        self.set(part, Check { ok: true, detail: String::new() });
    }

    /// Reports that a part works, with a note.
    pub fn note(&self, part: &str, note: impl Into<String>) {
        self.set(part, Check { ok: true, detail: note.into() });
    }

    /// Reports that a part does not work, and logs it if it worked before.
    pub fn failed(&self, part: &str, why: impl Into<String>) {
        let detail = why.into();
        if self.set(part, Check { ok: false, detail: detail.clone() }) {
            tracing::warn!(part = self.name(part), %detail, "not ready");
        }
    }

    /// Reports that a part does not work, without logging it.
    pub(crate) fn failed_quietly(&self, part: &str, why: impl Into<String>) {
        self.set(part, Check { ok: false, detail: why.into() });
    }

    /// Returns why a part does not work; `None` if it works, or is unknown.
    #[must_use]
    pub fn problem(&self, part: &str) -> Option<String> {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.get(&self.name(part)).filter(|check| !check.ok).map(|check| check.detail.clone())
    }

    /// Returns the parts that do not work, each as `part: reason`.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let failing = checks.iter().filter(|(_, check)| !check.ok);
        failing.map(|(part, check)| format!("{part}: {}", check.detail)).collect()
    }

    /// Returns the state of every part.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Readiness { ready: checks.values().all(|check| check.ok), checks }
    }

    /// Sets the state of a part; returns whether it worked before, or is new.
    fn set(&self, part: &str, check: Check) -> bool {
        let name = self.name(part);
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        match checks.get_mut(&name) {
            Some(known) => std::mem::replace(known, check).ok,
            None => {
                checks.insert(name, check);
                true
            }
        }
    }

    fn name(&self, part: &str) -> String {
        format!("{}{part}", self.prefix)
    }
}
