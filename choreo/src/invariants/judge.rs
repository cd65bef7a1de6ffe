//! Decides what holds. Pure; times are told.

mod across;
mod allocations;
mod flow;
mod money;
mod stalled;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Instant;

use contracts::query::{ExposureReconciliation, ProductReconciliation};
use messaging::envelope::rfc3339;

use super::observe::{Answer, Lag, Observed};
use super::{Board, Check, MAX_NAMED, PERSISTS, Status, Violation};

/// Remembers what did not agree, and since when.
#[derive(Debug, Default)]
pub(super) struct Judge {
    suspicions: HashMap<(&'static str, String, String), Instant>,
    /// How far consumers that are behind were when they moved last, and when that was.
    moved: flow::Moved,
}

/// What is wrong, on the way to a check.
#[derive(Debug, Default)]
struct Findings {
    /// Wrong beyond doubt.
    violations: Vec<Violation>,
    /// How many more are wrong than are known one by one.
    unnamed: u64,
    /// Wrong if it stays while nothing is under way.
    suspected: Vec<Violation>,
    /// What could not be asked.
    silent: Vec<String>,
}

impl Findings {
    /// Returns an answer; where there is none, that is remembered.
    fn read<'a, T>(&mut self, answer: &'a Answer<T>) -> Option<&'a T> {
        answer.as_ref().map_err(|why| self.silent.push(why.clone())).ok()
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
        Board { at: rfc3339(observed.at), checks }
    }
}

/// What it takes to decide on a suspicion.
struct Context<'a> {
    quiet: bool,
    before: &'a HashMap<(&'static str, String, String), Instant>,
    now: Instant,
}

/// Decides a check: it fails if there is a violation or a mismatch that persists, and is unknown if something is silent or settling.
fn close(
    mut check: Check,
    findings: Findings,
    context: &Context<'_>,
    suspicions: &mut HashMap<(&'static str, String, String), Instant>,
) -> Check {
    let Findings { mut violations, unnamed, suspected, silent } = findings;
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
    check.status = match (violations.is_empty(), silent.is_empty() && !settling) {
        (false, _) => Status::Fail,
        (true, true) => Status::Pass,
        (true, false) => Status::Unknown,
    };
    check.total = violations.len() as u64 + unnamed;
    if !violations.is_empty() {
        check.detail = format!("{} of {} violate it", check.total, check.examined.max(check.total));
    } else if !silent.is_empty() {
        let mut silent = silent;
        silent.dedup();
        check.detail = format!("unknown: {}", silent.join("; "));
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

/// What came in is on the shelf or held, for every product.
fn stock(observed: &Observed) -> (Check, Findings) {
    let mut findings = Findings::default();
    let mut examined = 0;
    if let Some(stock) = findings.read(&observed.stock) {
        examined = stock.products;
        findings.violations = stock.wrong.iter().map(product).collect();
        findings.unnamed = stock.wrong_total.saturating_sub(stock.wrong.len() as u64);
    }
    let detail = format!("{examined} products: what came in is available or held");
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
        mismatches.push(format!("{received} came in, and {available} are available and {reserved} reserved"));
    }
    if reserved != reservation_lines {
        mismatches.push(format!("{reserved} are reserved, and the orders that hold some hold {reservation_lines}"));
    }
    if backordered != backorder_lines {
        mismatches.push(format!("{backordered} are awaited, and the orders that wait ask for {backorder_lines}"));
    }
    Violation::of(product_id, mismatches.join("; "))
}

fn exposure(wrong: &ExposureReconciliation) -> Violation {
    let ExposureReconciliation { customer_id, currency, exposure, counted } = wrong;
    let explanation =
        format!("{exposure} {currency} (minor units) count against the limit, and the payments come to {counted}");
    Violation::of(customer_id, explanation).identified(format!("{customer_id}/{currency}"))
}

/// Returns how far a service is, for people.
fn behind(lag: &Lag) -> String {
    if lag.missing {
        return format!("{} has no consumer of {}: see provision", lag.service, lag.stream);
    }
    format!("{} messages of {} wait for {}", lag.pending, lag.stream, lag.service)
}
