//! A timeline for people.

use crate::explain::{Hearer, Hearing, Step, Timeline};
use crate::print::table;

/// Writes what happened, where it stands, what it waits for, and what is not known.
pub(crate) fn of(timeline: &Timeline) -> String {
    if timeline.is_empty() && timeline.is_complete() {
        return format!("nothing is known of {}", timeline.key);
    }
    let heading = ["TIME", "STREAM", "MESSAGE", "OUTBOX", "HEARD BY"];
    let mut text = table(&heading, timeline.steps.iter().map(row));
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text += &format!("\n\n{title}\n  {}", lines.join("\n  "));
        }
    };
    let since =
        |since: &Option<String>| since.as_deref().map_or_else(String::new, |at| format!(", since {}", clock(at)));
    let standings = timeline.standings.iter();
    section(
        "Where it stands",
        standings.map(|told| format!("{}: {}{}", told.service, told.state, since(&told.since))).collect(),
    );
    let waits = timeline.waits_for.iter();
    section("What it waits for", waits.map(|wait| format!("{}{}", wait.what, since(&wait.since))).collect());
    let silent = timeline.sources.iter().filter(|source| !source.answered);
    let silent =
        silent.map(|source| format!("{}: {}", source.name, source.detail.as_deref().unwrap_or("no answer")));
    section("What could not be asked", silent.collect());
    if timeline.waits_for.is_empty() && timeline.is_complete() {
        text += "\n\nIt waits for nothing.";
    }
    text
}

fn row(step: &Step) -> Vec<String> {
    let note = step.note.as_deref().map_or_else(String::new, |note| format!("  [{note}]"));
    vec![
        clock(&step.time),
        format!("{} {}", step.stream, step.sequence),
        format!("{}{}{note}", "  ".repeat(step.depth), step.subject),
        step.delay_ms.map_or_else(String::new, |ms| format!("{ms} ms")),
        step.hearers.iter().map(heard).collect::<Vec<_>>().join("; "),
    ]
}

fn heard(hearer: &Hearer) -> String {
    let hearing = match hearer.hearing {
        Hearing::Handled => "handled",
        Hearing::Pending => "NOT YET",
        Hearing::GivenUp => "GIVEN UP",
        Hearing::Redriven => "redriven",
        Hearing::Discarded => "discarded",
        Hearing::Unknown => "UNKNOWN",
    };
    let mut text = format!("{} {hearing}", hearer.service);
    if let Some(at) = &hearer.at {
        text += &format!(" {}", clock(at));
    }
    if hearer.failures > 0 {
        text += &format!(", failed {} times ({})", hearer.failures, hearer.failure.as_deref().unwrap_or("?"));
    }
    if hearer.duplicates > 0 {
        text += &format!(", {} duplicates dropped", hearer.duplicates);
    }
    text
}

/// The day and the time to a millisecond.
fn clock(time: &str) -> String {
    let (seconds, fraction) =
        time.trim_end_matches('Z').split_once('.').unwrap_or((time.trim_end_matches('Z'), "0"));
    format!("{}.{:0<3}", seconds.replace('T', " "), fraction.chars().take(3).collect::<String>())
}
