//! The invariants as a table.

use crate::invariants::{Board, Check, Status};
use crate::print::table;

/// Writes the checks, their violations, and the orders that wait.
pub(crate) fn of(board: &Board) -> String {
    let rows = board.checks.iter().map(|check| {
        vec![verdict(check).to_owned(), check.name.to_owned(), check.title.to_owned(), check.detail.clone()]
    });
    let mut text = table(&["", "CHECK", "INVARIANT", "FOUND"], rows);
    for check in &board.checks {
        for violation in &check.violations {
            text += &format!("\n\n{} {}: {}", check.name, violation.key, violation.explanation);
        }
        let named = check.violations.len() as u64;
        if check.total > named {
            text += &format!("\n\n{}: {named} of {} violations are listed", check.name, check.total);
        }
    }
    let waiting: Vec<String> = board
        .checks
        .iter()
        .flat_map(|check| &check.waiting)
        .map(|waiting| {
            format!("{} waits for {} ({}), since {}", waiting.key, waiting.what, waiting.service, waiting.since)
        })
        .collect();
    if !waiting.is_empty() {
        text += &format!("\n\nWaiting orders\n  {}", waiting.join("\n  "));
    }
    text
}

fn verdict(check: &Check) -> &'static str {
    match check.status {
        Status::Pass => "pass",
        Status::Fail => "FAIL",
        Status::Unknown => "unknown",
    }
}
