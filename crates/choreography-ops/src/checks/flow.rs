//! Message flow: outboxes drain, consumers progress, no message is repeated, and no dead letters arise.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::board::{Check, Findings, Violation};
use super::observe::{Lag, Observed};

/// The maximum age of a pending message in an outbox, in milliseconds.
pub const MAX_OUTBOX_AGE_MS: i64 = 10_000;
/// How long a consumer with pending messages may make no progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Services publish the messages in their outboxes.
pub(super) fn outboxes(observed: &Observed) -> (Check, Findings) {
    let mut findings = Findings::default();
    let (mut depth, mut oldest) = (0, None);
    for stats in observed.stats.values() {
        let Some(stats) = findings.read(stats) else { continue };
        depth += stats.outbox_depth;
        oldest = oldest.max(stats.outbox_age_ms);
        if stats.outbox_unpublishable > 0 {
            let count = stats.outbox_unpublishable;
            let explanation = format!("{count} messages are unpublishable: redrive their dead letters");
            findings.violations.push(
                Violation::of(&stats.service, explanation).identified(format!("{}/unpublishable", stats.service)),
            );
        }
        if let Some(age) = stats.outbox_age_ms.filter(|age| *age > MAX_OUTBOX_AGE_MS) {
            let explanation =
                format!("{} messages are pending, the oldest for {} s", stats.outbox_depth, age / 1000);
            findings.violations.push(Violation::of(&stats.service, explanation));
        }
    }
    let examined = observed.stats.len() as u64;
    let detail = match oldest {
        Some(age) => format!("{depth} messages are pending, the oldest for {age} ms"),
        None => format!("{examined} outboxes are empty"),
    };
    (Check::new("outboxes", "Outbox messages are published", examined, detail), findings)
}

/// How long a consumer with unacknowledged deliveries may make no progress: longer than the delays between the
/// attempts of a failing message.
const STALLED_UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// The position of a consumer at its last progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pending: u64,
    deliveries: u64,
    floor: u64,
    delivered: u64,
    /// Whether it had nothing pending and nothing unacknowledged.
    idle: bool,
    since: Instant,
    /// The number of messages that the stream deleted before they were delivered, and when that was last noticed.
    lost: Option<(u64, Instant)>,
}

/// How long lost messages are reported.
const LOSS_NAMED: Duration = Duration::from_secs(3600);

/// The positions of all consumers, by service and stream.
pub(super) type Moved = HashMap<(String, String), Place>;

/// Consumers handle the published messages.
pub(super) fn consumers(observed: &Observed, moved: &mut Moved, now: Instant) -> (Check, Findings) {
    let mut findings = Findings::default();
    let (mut examined, mut lags) = (0, Vec::new());
    if let Some(all) = findings.read(&observed.lags) {
        examined = all.len() as u64;
        for lag in all {
            consumer(observed, lag, moved, now, &mut findings);
            if lag.pending > 0 {
                lags.push(lag.describe());
            }
        }
    }
    if lags.is_empty() {
        lags.push("no consumer lags".to_owned());
    }
    lags.extend(observed.unknown_consumers.iter().map(ToString::to_string));
    let detail = lags.join("; ");
    (Check::new("consumers", "Published messages are handled", examined, detail), findings)
}

/// Returns how many messages the stream deleted before they were delivered. Only deliveries reduce the pending
/// messages, unless the stream now starts after the previous position of the consumer.
fn lost(before: &Place, lag: &Lag, now: Instant) -> Option<(u64, Instant)> {
    let known = before.lost.filter(|(_, at)| now.duration_since(*at) < LOSS_NAMED);
    if lag.deliveries < before.deliveries || lag.first <= before.delivered + 1 {
        return known;
    }
    let delivered = lag.deliveries - before.deliveries;
    match before.pending.saturating_sub(lag.pending).saturating_sub(delivered) {
        0 => known,
        gone => Some((gone + known.map_or(0, |(lost, _)| lost), now)),
    }
}

fn consumer(observed: &Observed, lag: &Lag, moved: &mut Moved, now: Instant, findings: &mut Findings) {
    let key = (lag.service.clone(), lag.stream.clone());
    let violations = |what: &str, explanation: String| {
        Violation::of(&lag.service, explanation).identified(format!("{}/{}/{what}", lag.service, lag.stream))
    };
    if lag.missing.is_some() {
        moved.remove(&key);
        findings.violations.push(violations("missing", lag.describe()));
        return;
    }
    let Lag { pending, deliveries, floor, delivered, .. } = *lag;
    let idle = pending == 0 && lag.unacknowledged == 0;
    let fresh = Place { pending, deliveries, floor, delivered, idle, since: now, lost: None };
    let place = moved.entry(key).or_insert(fresh);
    let unmoved = place.deliveries == deliveries && place.floor == floor;
    // An idle consumer starts to stall now at the earliest.
    let since = if unmoved && !idle && !place.idle { place.since } else { now };
    *place = Place { since, lost: lost(place, lag, now), ..fresh };
    let stalled_for = now.duration_since(place.since);
    if let Some((lost, _)) = place.lost {
        let remedy = if lag.has_events {
            "run choreo streams restore"
        } else {
            "no outbox holds them; their senders must send them again"
        };
        let explanation = format!(
            "{} deleted {lost} messages before they were delivered to {}: {remedy}",
            lag.stream, lag.service
        );
        findings.violations.push(violations("lost", explanation));
    } else if !lag.has_timers && lag.first > floor + 1 && floor > 0 && (lag.first > delivered + 1 || pending == 0) {
        let (from, to) = (lag.floor + 1, lag.first - 1);
        let why = "whether they matched its filter is unknown";
        findings
            .unavailable
            .push(format!("{} deleted {from} to {to} before {} reached them; {why}", lag.stream, lag.service));
    }
    match observed.stats.get(&lag.service) {
        Some(Err(why)) if lag.pending > 0 => findings.unavailable.push(format!("{why}, and {}", lag.describe())),
        _ if lag.pending > 0 && stalled_for > STALL_TIMEOUT => {
            findings
                .violations
                .push(violations("stalled", format!("{}, and it makes no progress", lag.describe())));
        }
        _ if lag.unacknowledged > 0 && stalled_for > STALLED_UNACKNOWLEDGED => {
            let explanation = format!(
                "{} has {} messages of {} and does not acknowledge them",
                lag.service, lag.unacknowledged, lag.stream
            );
            findings.violations.push(violations("stalled", explanation));
        }
        _ => {}
    }
}

/// No subject that is published once per key is repeated, among the last messages of each service.
///
/// Not a check of every system: it needs [`System::once_per_key`](crate::System::once_per_key).
pub fn once(observed: &Observed) -> (Check, Findings) {
    let mut findings = Findings::default();
    let mut examined = 0;
    for stats in observed.stats.values() {
        let Some(stats) = findings.read(stats) else { continue };
        examined += stats.examined;
        findings.unnamed += stats.repeated_total.saturating_sub(stats.repeated.len() as u64);
        for repeated in &stats.repeated {
            let key = repeated.subject.rsplit('.').next().unwrap_or_default().to_owned();
            let what = repeated.subject.trim_end_matches(&format!(".{key}")).to_owned();
            let explanation = format!("{} published {what} {} times", stats.service, repeated.count);
            let id = format!("{}/{}", stats.service, repeated.subject);
            findings.violations.push(Violation::of(key, explanation).identified(id));
        }
    }
    let detail = format!("the last {examined} messages: no duplicates");
    (Check::new("handled-once", "Nothing is handled twice", examined, detail), findings)
}

/// No service dead-letters a message.
pub(super) fn dead_letters(observed: &Observed) -> (Check, Findings) {
    let mut findings = Findings::default();
    let mut examined = 0;
    if let Some(dead_letters) = findings.read(&observed.dead_letters) {
        examined = dead_letters.count;
        findings.violations =
            dead_letters.subjects.iter().map(|(subject, count)| dead_letter(subject, *count)).collect();
        findings.unnamed = dead_letters.subjects.iter().map(|(_, count)| (*count as u64).saturating_sub(1)).sum();
        if dead_letters.count > 0 && dead_letters.subjects.is_empty() {
            let explanation = "see `choreo dead-letters list`".to_owned();
            findings.violations.push(Violation::of(format!("{examined} dead letters"), explanation));
            findings.unnamed = dead_letters.count.saturating_sub(1);
        }
    }
    (Check::new("dead-letters", "No dead letters", examined, "no dead letters".to_owned()), findings)
}

/// `dead-letter.<service>.<reason>.<key>`
fn dead_letter(subject: &str, count: usize) -> Violation {
    let tokens: Vec<&str> = subject.split('.').collect();
    let violations = match tokens.as_slice() {
        [_, service, reason, .., key] if count > 1 => {
            Violation::of(*key, format!("{service} dead-lettered {count} messages about it: {reason}"))
        }
        [_, service, reason, .., key] => {
            Violation::of(*key, format!("{service} dead-lettered a message about it: {reason}"))
        }
        _ => Violation::of(subject, "a dead letter"),
    };
    violations.identified(subject)
}
