//! The report: requests, faults, the results of the checks, and the messages about violations.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::check::{Outcome, Violation};
use crate::recorded::{Recorded, Stored};

/// The maximum number of violations shown per invariant.
const MAX_SHOWN: usize = 3;

/// The parameters and figures of a run.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The seed of all random choices.
    pub seed: u64,
    /// The number of injected faults per kind.
    pub injected: BTreeMap<&'static str, u64>,
    /// The number of customers turned away.
    pub turned_away: u64,
    /// The time until the shop was at rest, in seconds.
    pub drained_after: f64,
}

/// Writes the figures of a run, and the violations.
#[must_use]
pub fn write(summary: &Summary, recorded: &Recorded, outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = write_all(&mut text, summary, recorded, outcomes);
    text
}

fn write_all(
    text: &mut String,
    summary: &Summary,
    recorded: &Recorded,
    outcomes: &[Outcome],
) -> Result<(), std::fmt::Error> {
    writeln!(text, "\nseed {}\n", summary.seed)?;
    table(text, "requests", &requests(recorded, summary.turned_away))?;
    table(text, "orders", &orders(recorded))?;
    let injected = summary.injected.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
    table(text, "faults", &injected)?;
    let mut ends = BTreeMap::new();
    for ended in &recorded.ended {
        *ends.entry(format!("{} ({})", ended.component, ended.how)).or_default() += 1;
    }
    table(text, "ended by themselves and restarted", &ends)?;
    writeln!(text, "messages: {}, at rest after {:.1} s\n", recorded.messages.len(), summary.drained_after)?;
    for outcome in outcomes {
        let verdict = if outcome.found.violations.is_empty() { "ok" } else { "VIOLATED" };
        let invariant = &outcome.invariant;
        writeln!(
            text,
            "{verdict:<8}  {:<20} {:>7} examined: {}",
            invariant.name, outcome.found.examined, invariant.description
        )?;
    }
    for outcome in outcomes.iter().filter(|outcome| !outcome.found.violations.is_empty()) {
        explain(text, recorded, outcome)?;
    }
    Ok(())
}

fn table(text: &mut String, title: &str, counts: &BTreeMap<String, u64>) -> Result<(), std::fmt::Error> {
    if counts.is_empty() {
        return Ok(());
    }
    writeln!(text, "{title}: {}", counts.values().sum::<u64>())?;
    counts.iter().try_for_each(|(what, count)| writeln!(text, "  {count:>7}  {what}"))
}

fn requests(recorded: &Recorded, turned_away: u64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for exchange in &recorded.exchanges {
        let what = match exchange.status {
            0 => "no response".to_owned(),
            status => format!("status {status}"),
        };
        *counts.entry(what).or_default() += 1;
    }
    if turned_away > 0 {
        counts.insert("not sent: too many concurrent customers".to_owned(), turned_away);
    }
    counts
}

fn orders(recorded: &Recorded) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for order in recorded.orders.values() {
        let status = order["status"].as_str().unwrap_or("?");
        let reason = [&order["reason"]["code"], &order["reason"]["reason"]];
        let words: Vec<&str> = [status].into_iter().chain(reason.into_iter().filter_map(Value::as_str)).collect();
        *counts.entry(words.join(", ")).or_default() += 1;
    }
    counts
}

/// Explains a violated invariant: the violations, and the messages about each, in order.
fn explain(text: &mut String, recorded: &Recorded, outcome: &Outcome) -> Result<(), std::fmt::Error> {
    let violations = &outcome.found.violations;
    writeln!(text, "\n{}: {}", outcome.invariant.name, outcome.invariant.description)?;
    writeln!(text, "violated {} times, {} examined:", violations.len(), outcome.found.examined)?;
    // The violation with the fewest messages is the easiest to understand.
    let mut shortest: Vec<(Vec<&Stored>, &Violation)> =
        violations.iter().map(|violation| (about(recorded, &violation.about), violation)).collect();
    shortest.sort_by_key(|(messages, _)| messages.len());
    for (messages, violation) in shortest.into_iter().take(MAX_SHOWN) {
        writeln!(text, "\n  {}: {}", violation.about, violation.what)?;
        // Orders have few messages; products and customers have too many.
        if messages.len() <= 20 {
            for message in messages {
                writeln!(text, "    {}", line(message))?;
            }
        }
    }
    Ok(())
}

/// Returns the messages with a business id, by the time of the message.
fn about<'a>(recorded: &'a Recorded, key: &str) -> Vec<&'a Stored> {
    let all = recorded.messages.iter().chain(&recorded.dead_letters);
    let mut about: Vec<&Stored> = all.filter(|message| message.key() == key).collect();
    about.sort_by_key(|message| message.headers.get("ce-time").cloned().unwrap_or_default());
    about
}

fn line(message: &Stored) -> String {
    let time = message.headers.get("ce-time").map_or("", String::as_str);
    let version = message.version().map(|version| format!(" v{version}")).unwrap_or_default();
    let mut body = message.body.to_string();
    if body.len() > 120 {
        body = body.chars().take(120).chain(['…']).collect();
    }
    let (stream, sequence, subject) = (&message.stream, message.sequence, &message.subject);
    format!("{time} {stream} {sequence} {subject}{version} id {} cause {} {body}", message.id(), message.cause())
}
