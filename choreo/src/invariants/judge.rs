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

use contracts::query::{ExposureBalance, ProductBalance};
use messaging::envelope::rfc3339;

use super::observe::{Answer, Lag, Observed};
use super::{Board, Broken, Check, MOST_NAMED, PERSISTS};

/// Remembers what did not add up, and since when.
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
    broken: Vec<Broken>,
    /// How many more are wrong than are known one by one.
    unnamed: u64,
    /// Wrong if it stays while nothing is under way.
    suspected: Vec<Broken>,
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
            let standing = Standing { quiet: observed.quiet, before: &before, now };
            close(check, findings, &standing, &mut self.suspicions)
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
        let (check, findings) = flow::letters(observed);
        checks.push(close(check, findings));
        Board { at: rfc3339(observed.at), checks }
    }
}

/// What it takes to decide on a suspicion.
struct Standing<'a> {
    quiet: bool,
    before: &'a HashMap<(&'static str, String, String), Instant>,
    now: Instant,
}

/// Decides a check: broken where something is, or stayed; not to be told where something is silent or settling.
fn close(
    mut check: Check,
    findings: Findings,
    standing: &Standing<'_>,
    suspicions: &mut HashMap<(&'static str, String, String), Instant>,
) -> Check {
    let Findings { mut broken, unnamed, suspected, silent } = findings;
    let mut settling = false;
    for suspect in suspected {
        let key = (check.name, suspect.key.clone(), suspect.explanation.clone());
        let since = standing.before.get(&key).copied().filter(|_| standing.quiet).unwrap_or(standing.now);
        suspicions.insert(key, since);
        if standing.quiet && standing.now.duration_since(since) >= PERSISTS {
            broken.push(suspect);
        } else {
            settling = true;
        }
    }
    check.holds = match (broken.is_empty(), silent.is_empty() && !settling) {
        (false, _) => Some(false),
        (true, true) => Some(true),
        (true, false) => None,
    };
    check.total = broken.len() as u64 + unnamed;
    if !broken.is_empty() {
        check.detail = format!("{} of {} not as promised", check.total, check.looked.max(check.total));
    } else if !silent.is_empty() {
        let mut silent = silent;
        silent.dedup();
        check.detail = format!("cannot be told: {}", silent.join("; "));
    } else if settling {
        check.detail = "settling: messages are under way".to_owned();
    }
    broken.truncate(MOST_NAMED);
    check.broken = broken;
    check
}

fn check(name: &'static str, title: &'static str, looked: u64, detail: String) -> Check {
    let (broken, waiting) = (Vec::new(), Vec::new());
    Check { name, title, holds: None, looked, detail, total: 0, broken, waiting_total: 0, waiting }
}

/// What came in is on the shelf or held, for every product.
fn stock(observed: &Observed) -> (Check, Findings) {
    let mut findings = Findings::default();
    let mut looked = 0;
    if let Some(stock) = findings.read(&observed.stock) {
        looked = stock.products;
        findings.broken = stock.wrong.iter().map(product).collect();
        findings.unnamed = stock.wrong_total.saturating_sub(stock.wrong.len() as u64);
    }
    let detail = format!("{looked} products: what came in is available or held");
    (check("stock-conserved", "Stock adds up, per product", looked, detail), findings)
}

fn product(wrong: &ProductBalance) -> Broken {
    let ProductBalance { product_id, intake, available, reserved, held, awaiting, waited } = wrong;
    let mut said = Vec::new();
    if available + reserved != *intake {
        said.push(format!("{intake} came in, and {available} are available and {reserved} reserved"));
    }
    if reserved != held {
        said.push(format!("{reserved} are reserved, and the orders that hold some hold {held}"));
    }
    if awaiting != waited {
        said.push(format!("{awaiting} are awaited, and the orders that wait ask for {waited}"));
    }
    Broken::of(product_id, said.join("; "))
}

fn exposure(wrong: &ExposureBalance) -> Broken {
    let ExposureBalance { customer_id, currency, exposure, counted } = wrong;
    let explanation =
        format!("{exposure} {currency} (minor units) count against the limit, and the payments come to {counted}");
    Broken::of(customer_id, explanation).identified(format!("{customer_id}/{currency}"))
}

/// Returns how far a service is, for people.
fn behind(lag: &Lag) -> String {
    if lag.missing {
        return format!("{} has no consumer of {}: see provision", lag.service, lag.stream);
    }
    format!("{} messages of {} wait for {}", lag.pending, lag.stream, lag.service)
}
