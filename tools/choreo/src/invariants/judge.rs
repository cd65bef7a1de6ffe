//! Decides whether each invariant holds. Pure: no I/O, and the caller passes the time.

mod across;
mod allocations;
mod flow;
mod money;
mod stalled;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Instant;

use choreography::envelope::rfc3339;
use contracts::query::{ExposureReconciliation, ProductReconciliation};

use super::observe::{Lag, Observed, Reply};
use super::{Board, Check, MAX_NAMED, PERSISTS, Status, Violation};

/// Keeps the mismatches, and since when each has lasted.
#[derive(Debug, Default)]
pub(super) struct Judge {
    suspicions: HashMap<(&'static str, String, String), Instant>,
    /// The last progress of each consumer.
    moved: flow::Moved,
}

/// The findings of one check.
#[derive(Debug, Default)]
struct Findings {
    /// Violations that are certain.
    violations: Vec<Violation>,
    /// The number of further violations, which are only counted.
    unnamed: u64,
    /// Mismatches, which are violations if they persist while no message is under way.
    suspected: Vec<Violation>,
    /// Sources that are unavailable, and why.
    unavailable: Vec<String>,
}

impl Findings {
    /// Returns a reply; a missing one is recorded as unavailable.
    fn read<'a, T>(&mut self, reply: &'a Reply<T>) -> Option<&'a T> {
        reply.as_ref().map_err(|why| self.unavailable.push(why.clone())).ok()
    }
}

impl Judge {
    pub(super) fn suspects(&self) -> bool {
        !self.suspicions.is_empty()
    }

    /// Decides every check.
    pub(super) fn decide(&mut self, observed: &Observed, now: Instant) -> Board {
        let before = std::mem::take(&mut self.suspicions);
        let mut close = |check: Check, findings: Findings| {
            let context = Context { quiet: observed.quiet, before: &before, now };
            close(check, findings, &context, &mut self.suspicions)
        };
        let mut checks = Vec::with_capacity(9);
        for made in [
            stock(observed),
            allocations::reservations(observed),
            across::money(observed),
            money::ledger(observed),
            across::orders(observed),
            across::once(observed),
        ] {
            checks.push(close(made.0, made.1));
        }
        let (check, findings) = flow::outboxes(observed);
        checks.push(close(check, findings));
        let (check, findings) = flow::consumers(observed, &mut self.moved, now);
        checks.push(close(check, findings));
        let (check, findings) = flow::dead_letters(observed);
        checks.push(close(check, findings));
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

fn check(name: &'static str, title: &'static str, examined: u64, detail: String) -> Check {
    let (violations, waiting) = (Vec::new(), Vec::new());
    Check {
        name,
        title,
        status: Status::Unknown,
        examined,
        detail,
        total: 0,
        violations,
        waiting_total: 0,
        waiting,
    }
}

/// Per product, the received units are available or reserved.
fn stock(observed: &Observed) -> (Check, Findings) {
    let mut findings = Findings::default();
    let mut examined = 0;
    if let Some(stock) = findings.read(&observed.stock) {
        examined = stock.products;
        findings.violations = stock.wrong.iter().map(product).collect();
        findings.unnamed = stock.wrong_total.saturating_sub(stock.wrong.len() as u64);
    }
    let detail = format!("{examined} products: received units are available or reserved");
    (check("stock-conserved", "Stock is consistent, per product", examined, detail), findings)
}

fn product(wrong: &ProductReconciliation) -> Violation {
    let ProductReconciliation {
        product_id,
        received,
        available,
        reserved,
        reservation_lines,
        backordered,
        backorder_lines,
    } = wrong;
    let mut mismatches = Vec::new();
    if available + reserved != *received {
        mismatches.push(format!(
            "{received} units were received, but {available} are available and {reserved} are reserved"
        ));
    }
    if reserved != reservation_lines {
        mismatches.push(format!(
            "{reserved} units are reserved, but the reservations of the orders total {reservation_lines}"
        ));
    }
    if backordered != backorder_lines {
        mismatches
            .push(format!("{backordered} units are backordered, but the backorder lines total {backorder_lines}"));
    }
    Violation::of(product_id, mismatches.join("; "))
}

fn exposure(wrong: &ExposureReconciliation) -> Violation {
    let ExposureReconciliation { customer_id, currency, exposure, counted } = wrong;
    let explanation =
        format!("the exposure is {exposure} {currency} (minor units), but the payments total {counted}");
    Violation::of(customer_id, explanation).identified(format!("{customer_id}/{currency}"))
}

/// Returns a sentence about the lag of a consumer.
fn behind(lag: &Lag) -> String {
    if lag.missing {
        return format!("{} has no consumer of {}: run demo provision", lag.service, lag.stream);
    }
    format!("{} messages of {} wait for {}", lag.pending, lag.stream, lag.service)
}
