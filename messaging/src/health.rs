//! What the process knows of its own health.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// The state of one part of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Whether the part does its work.
    pub ok: bool,
    /// Why not, or what of; empty where there is nothing to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Which parts of the process do their work. Cheap to clone; all clones share one state.
///
/// A part is declared with [`Health::expect`] and is not ready until it says so. Readiness watches progress and not
/// connections: a consumer that has messages pending and handles none is not ready, however well it is connected.
#[derive(Debug, Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<String, Check>>>,
    /// What the names of parts begin with here.
    prefix: String,
}

/// Whether the process is ready, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Whether every part does its work.
    pub ready: bool,
    /// Each part by name.
    pub checks: BTreeMap<String, Check>,
}

impl Health {
    /// Returns the same state, with parts that are called `<name>/<part>`: of a second connection, for example.
    #[must_use]
    pub fn under(&self, name: &str) -> Self {
        Self { checks: self.checks.clone(), prefix: format!("{}{name}/", self.prefix) }
    }

    /// Declares a part that must be ready before the process is.
    pub fn expect(&self, part: &str) {
        self.set(part, Check { ok: false, detail: "starting".to_owned() });
    }

    /// Says that a part does its work.
    pub fn ok(&self, part: &str) {
        self.set(part, Check { ok: true, detail: String::new() });
    }

    /// Says that a part does its work, and what there is to know of it.
    pub fn note(&self, part: &str, what: impl Into<String>) {
        self.set(part, Check { ok: true, detail: what.into() });
    }

    /// Says that a part does not do its work, and logs it where that is news.
    pub fn failed(&self, part: &str, why: impl Into<String>) {
        let detail = why.into();
        if self.set(part, Check { ok: false, detail: detail.clone() }) {
            tracing::warn!(part = self.name(part), %detail, "not ready");
        }
    }

    /// Reports that a part does not do its work; the caller logs what is news.
    pub(crate) fn failed_quietly(&self, part: &str, why: impl Into<String>) {
        self.set(part, Check { ok: false, detail: why.into() });
    }

    /// Returns why a part does not do its work; none if it does, or is not known.
    #[must_use]
    pub fn problem(&self, part: &str) -> Option<String> {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.get(&self.name(part)).filter(|check| !check.ok).map(|check| check.detail.clone())
    }

    /// Returns the parts that do not do their work, each as `part: reason`.
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

    /// Returns whether the part was ok, or is new.
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
