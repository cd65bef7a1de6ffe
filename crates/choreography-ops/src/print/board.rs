//! The results of checks as a table.

use crate::checks::{Board, Check, Status, Waiting};
use crate::print::table;

/// Writes the checks, their violations, and the items that wait.
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
    for check in board.checks.iter().filter(|check| !check.waiting.is_empty()) {
        let waiting = check.waiting.iter().map(|waiting| {
            let Waiting { key, service, what, since } = waiting;
            format!("\n  {key} waits for {what} ({service}), since {since}")
        });
        text += &format!("\n\nWaiting {}{}", check.items, waiting.collect::<String>());
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
