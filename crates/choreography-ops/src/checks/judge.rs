//! Decides whether each invariant holds. Pure: no I/O, and the caller passes the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use choreography::envelope::rfc3339;

use super::board::{Board, Check, Findings, MAX_NAMED, Status};
use super::flow::{self, Moved};
use super::observe::Observed;

/// How long a mismatch must persist to be a violation.
const PERSISTS: Duration = Duration::from_millis(1500);

/// Keeps the mismatches, and since when each has lasted.
#[derive(Debug, Default)]
pub struct Judge {
    suspicions: HashMap<(&'static str, String, String), Instant>,
    /// The last progress of each consumer.
    moved: Moved,
}

impl Judge {
    /// Returns whether a mismatch has not persisted yet.
    #[must_use]
    pub fn suspects(&self) -> bool {
        !self.suspicions.is_empty()
    }

    /// Decides a system's own checks, then those of the library.
    pub fn decide(&mut self, observed: &Observed, own: Vec<(Check, Findings)>, now: Instant) -> Board {
        let before = std::mem::take(&mut self.suspicions);
        let context = Context { quiet: observed.quiet, before: &before, now };
        let consumers = flow::consumers(observed, &mut self.moved, now);
        let library = [flow::outboxes(observed), consumers, flow::dead_letters(observed)];
        let checks = own.into_iter().chain(library);
        let checks =
            checks.map(|(check, findings)| close(check, findings, &context, &mut self.suspicions)).collect();
        Board { checked_at: rfc3339(observed.at), checks }
    }
}

/// The conditions under which a mismatch becomes a violation.
struct Context<'a> {
    quiet: bool,
    before: &'a HashMap<(&'static str, String, String), Instant>,
    now: Instant,
}

/// Decides a check: it fails if there is a violation or a persistent mismatch, and is unknown if a source is
/// unavailable or a mismatch is settling.
fn close(
    mut check: Check,
    findings: Findings,
    context: &Context<'_>,
    suspicions: &mut HashMap<(&'static str, String, String), Instant>,
) -> Check {
    let Findings { mut violations, unnamed, suspected, unavailable } = findings;
    let mut settling = false;
    for suspect in suspected {
        let key = (check.name, suspect.key.clone(), suspect.explanation.clone());
        let since = context.before.get(&key).copied().filter(|_| context.quiet).unwrap_or(context.now);
        suspicions.insert(key, since);
        if context.quiet && context.now.duration_since(since) >= PERSISTS {
            violations.push(suspect);
        } else {
            settling = true;
        }
    }
    check.status = match (violations.is_empty(), unavailable.is_empty() && !settling) {
        (false, _) => Status::Fail,
        (true, true) => Status::Pass,
        (true, false) => Status::Unknown,
    };
    check.total = violations.len() as u64 + unnamed;
    if !violations.is_empty() {
        check.detail = format!("{} of {} violate it", check.total, check.examined.max(check.total));
    } else if !unavailable.is_empty() {
        let mut unavailable = unavailable;
        unavailable.dedup();
        check.detail = format!("unknown: {}", unavailable.join("; "));
    } else if settling {
        check.detail = "settling: messages are under way".to_owned();
    }
    violations.truncate(MAX_NAMED);
    check.violations = violations;
    check
}

#[cfg(test)]
mod tests;
