//! What people read: what was asked, what was broken, what holds, and where something does not, why.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::check::{Outcome, Violation};
use crate::recorded::{Recorded, Stored};

/// The most violations of one invariant that are shown.
const SHOWN: usize = 3;

/// What a run was.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// What everything random derived from.
    pub seed: u64,
    /// How many faults of each kind were injected.
    pub injected: BTreeMap<&'static str, u64>,
    /// How many customers came when too many were under way.
    pub turned_away: u64,
    /// How long the shop took to come to rest, in seconds.
    pub drained_after: f64,
}

/// Writes the summary of a run, and what does not hold.
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
    table(text, "ended by themselves, and started again", &ends)?;
    writeln!(text, "messages: {}, at rest after {:.1} s\n", recorded.messages.len(), summary.drained_after)?;
    for outcome in outcomes {
        let verdict = if outcome.found.violations.is_empty() { "ok" } else { "VIOLATED" };
        let invariant = &outcome.invariant;
        writeln!(
            text,
            "{verdict:<8}  {:<20} {:>7} looked at: {}",
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
            0 => "no answer".to_owned(),
            status => format!("answered {status}"),
        };
        *counts.entry(what).or_default() += 1;
    }
    if turned_away > 0 {
        counts.insert("not made: too many under way".to_owned(), turned_away);
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

/// Explains an invariant that does not hold: what is wrong with what, and the messages about that, in order.
fn explain(text: &mut String, recorded: &Recorded, outcome: &Outcome) -> Result<(), std::fmt::Error> {
    let violations = &outcome.found.violations;
    writeln!(text, "\n{}: {}", outcome.invariant.name, outcome.invariant.description)?;
    writeln!(text, "does not hold, {} times of {}:", violations.len(), outcome.found.examined)?;
    // The one with the fewest messages is the easiest to understand.
    let mut shortest: Vec<(Vec<&Stored>, &Violation)> =
        violations.iter().map(|violation| (about(recorded, &violation.about), violation)).collect();
    shortest.sort_by_key(|(messages, _)| messages.len());
    for (messages, violation) in shortest.into_iter().take(SHOWN) {
        writeln!(text, "\n  {}: {}", violation.about, violation.what)?;
        // Orders have few messages; products and customers have too many to help.
        if messages.len() <= 20 {
            for message in messages {
                writeln!(text, "    {}", line(message))?;
            }
        }
    }
    Ok(())
}

/// Returns the messages about something, in the order in which they were said.
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
