//! A timeline as a table.

use crate::explain::{Consumer, DeliveryStatus, Step, Timeline};
use crate::print::table;

/// Writes the messages, the status per service, the blockers, the unavailable sources, and discarded messages.
pub(crate) fn of(timeline: &Timeline) -> String {
    let available = timeline.sources.iter().filter(|source| source.available);
    let discarded: Vec<String> =
        available.filter_map(|source| Some(format!("{}: {}", source.name, source.detail.as_deref()?))).collect();
    if timeline.is_empty() && timeline.is_complete() {
        return [vec![format!("nothing is known about {}", timeline.key)], discarded].concat().join("\n  ");
    }
    let heading = ["TIME", "STREAM", "MESSAGE", "OUTBOX", "CONSUMERS"];
    let mut text = table(&heading, timeline.steps.iter().map(row));
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text += &format!("\n\n{title}\n  {}", lines.join("\n  "));
        }
    };
    let since =
        |since: &Option<String>| since.as_deref().map_or_else(String::new, |at| format!(", since {}", clock(at)));
    let services = timeline.services.iter();
    section(
        "Status",
        services.map(|status| format!("{}: {}{}", status.service, status.state, since(&status.since))).collect(),
    );
    let blockers = timeline.blocked_on.iter();
    section("Blocked on", blockers.map(|wait| format!("{}{}", wait.what, since(&wait.since))).collect());
    let unavailable = timeline.sources.iter().filter(|source| !source.available);
    let unavailable =
        unavailable.map(|source| format!("{}: {}", source.name, source.detail.as_deref().unwrap_or("no reply")));
    section("Unavailable sources", unavailable.collect());
    section("Possibly missing", discarded);
    if timeline.blocked_on.is_empty() && timeline.is_complete() {
        text += "\n\nNot blocked.";
    }
    text
}

fn row(step: &Step) -> Vec<String> {
    let note = step.note.as_deref().map_or_else(String::new, |note| format!("  [{note}]"));
    vec![
        clock(&step.time),
        format!("{} {}", step.stream, step.sequence),
        format!("{}{}{note}", "  ".repeat(step.depth), step.subject),
        step.outbox_delay_ms.map_or_else(String::new, |ms| format!("{ms} ms")),
        step.consumers.iter().map(received).collect::<Vec<_>>().join("; "),
    ]
}

fn received(consumer: &Consumer) -> String {
    let status = match consumer.status {
        DeliveryStatus::Handled => "handled",
        DeliveryStatus::Pending => "PENDING",
        DeliveryStatus::DeadLettered => "DEAD-LETTERED",
        DeliveryStatus::Redriven => "redriven",
        DeliveryStatus::Deleted => "deleted",
        DeliveryStatus::Unknown => "UNKNOWN",
    };
    let mut text = format!("{} {status}", consumer.service);
    if let Some(at) = &consumer.at {
        text += &format!(" {}", clock(at));
    }
    if consumer.failures > 0 {
        text += &format!(", failed {} times ({})", consumer.failures, consumer.failure.as_deref().unwrap_or("?"));
    }
    if consumer.duplicates > 0 {
        text += &format!(", {} duplicates dropped", consumer.duplicates);
    }
    text
}

/// Formats the day and the time to a millisecond.
fn clock(time: &str) -> String {
    let (seconds, fraction) =
        time.trim_end_matches('Z').split_once('.').unwrap_or((time.trim_end_matches('Z'), "0"));
    format!("{}.{:0<3}", seconds.replace('T', " "), fraction.chars().take(3).collect::<String>())
}
