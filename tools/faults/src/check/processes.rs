//! The processes: their consistency checks, CPU, logs, and exits.

use super::Found;
use crate::recorded::Recorded;

/// The maximum CPU usage of a process at rest, in percent of a core.
const MAX_IDLE_CPU: f64 = 25.0;
/// The maximum number of lines per second of a component, on average over the run.
const MAX_LINES_PER_SECOND: u64 = 20;
/// The number of lines that a component may always write: each start writes dozens.
const MIN_LINES: u64 = 1_000;

pub(super) fn invariants_agree(recorded: &Recorded) -> Found {
    let mut found = Found::default();
    let checks = recorded.invariants["checks"].as_array().map_or(&[][..], Vec::as_slice);
    found.expect("GET /invariants", !checks.is_empty(), || format!("no checks: {}", recorded.invariants));
    for check in checks {
        let name = check["name"].as_str().unwrap_or_default();
        found.expect(name, check["status"] == "pass", || format!("it reports {check}"));
    }
    found
}

pub(super) fn are_idle(recorded: &Recorded) -> Found {
    let mut found = Found::default();
    for (process, percent) in &recorded.idle_cpu {
        found.expect(process, *percent <= MAX_IDLE_CPU, || format!("it uses {percent:.0} % of a core at rest"));
    }
    found
}

pub(super) fn logs_are_bounded(recorded: &Recorded) -> Found {
    let mut found = Found::default();
    let max = (recorded.seconds * MAX_LINES_PER_SECOND).max(MIN_LINES);
    for (component, lines) in &recorded.log_lines {
        let otherwise = || format!("it wrote {lines} lines in {} s", recorded.seconds);
        found.expect(component, *lines <= max, otherwise);
    }
    found
}

pub(super) fn secrets_are_kept(recorded: &Recorded) -> Found {
    let mut found = Found { examined: 1, ..Found::default() };
    for line in &recorded.leaks {
        found.examine(line, Some("this line contains a password".to_owned()));
    }
    found
}

pub(super) fn end_cleanly(recorded: &Recorded) -> Found {
    let mut found = Found::default();
    for (process, how) in &recorded.exits {
        found.expect(process, how == "exit status: 0", || format!("after SIGTERM it ended with: {how}"));
    }
    found
}
