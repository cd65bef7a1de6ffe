//! Whether messages get on: out of the outboxes, to the consumers, and not into the dead letters.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use contracts::topology::{EVENTS, TIMERS};

use super::super::observe::{Lag, Observed};
use super::super::{Broken, Check};
use super::{Findings, behind, check};

/// So old a message that is not published is not normal.
pub(super) const OLD: i64 = 10_000;
/// So long without a step a consumer that has messages does not work.
const STILL: Duration = Duration::from_secs(15);

/// What is said gets published.
pub(super) fn outboxes(observed: &Observed) -> (Check, Findings) {
    let mut findings = Findings::default();
    let (mut depth, mut oldest) = (0, None);
    for vitals in observed.vitals.values() {
        let Some(vitals) = findings.read(vitals) else { continue };
        depth += vitals.outbox_depth;
        oldest = oldest.max(vitals.outbox_age_ms);
        if vitals.outbox_unpublishable > 0 {
            let count = vitals.outbox_unpublishable;
            let explanation = format!("{count} messages are unpublishable: redrive their dead letters");
            findings.broken.push(
                Broken::of(&vitals.service, explanation).identified(format!("{}/unpublishable", vitals.service)),
            );
        }
        if let Some(age) = vitals.outbox_age_ms.filter(|age| *age > OLD) {
            let explanation =
                format!("{} messages are not published, the oldest for {} s", vitals.outbox_depth, age / 1000);
            findings.broken.push(Broken::of(&vitals.service, explanation));
        }
    }
    let looked = observed.vitals.len() as u64;
    let detail = match oldest {
        Some(age) => format!("{depth} messages on their way out, the oldest for {age} ms"),
        None => format!("{looked} outboxes are empty"),
    };
    (check("outboxes", "What is said gets published", looked, detail), findings)
}

/// So long without a step a consumer with deliveries that are not acknowledged does not work: longer than the waits
/// between the attempts of a message that fails.
const STALLED_UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// Where a consumer was when it moved last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pending: u64,
    deliveries: u64,
    floor: u64,
    delivered: u64,
    /// Whether it had nothing to do.
    idle: bool,
    since: Instant,
    /// Messages that the stream discarded before they were delivered, and when that was noticed last.
    lost: Option<(u64, Instant)>,
}

/// How long lost messages are named after they were noticed.
const LOSS_NAMED: Duration = Duration::from_secs(3600);

/// The places of all consumers, by service and stream.
pub(super) type Moved = HashMap<(String, String), Place>;

/// What is published gets handled.
pub(super) fn consumers(observed: &Observed, moved: &mut Moved, now: Instant) -> (Check, Findings) {
    let mut findings = Findings::default();
    let (mut looked, mut lags) = (0, Vec::new());
    if let Some(all) = findings.read(&observed.lags) {
        looked = all.len() as u64;
        for lag in all {
            consumer(observed, lag, moved, now, &mut findings);
            if lag.pending > 0 {
                lags.push(behind(lag));
            }
        }
    }
    let detail = if lags.is_empty() { "nobody is behind".to_owned() } else { lags.join("; ") };
    (check("consumers", "What is published gets handled", looked, detail), findings)
}

/// Returns how many messages the stream has discarded before they were delivered: what is pending becomes less by
/// deliveries alone, unless the stream begins behind the place where the consumer was.
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
    let broken = |what: &str, explanation: String| {
        Broken::of(&lag.service, explanation).identified(format!("{}/{}/{what}", lag.service, lag.stream))
    };
    if lag.missing {
        moved.remove(&key);
        findings.broken.push(broken("missing", behind(lag)));
        return;
    }
    let Lag { pending, deliveries, floor, delivered, .. } = *lag;
    let idle = pending == 0 && lag.unacknowledged == 0;
    let fresh = Place { pending, deliveries, floor, delivered, idle, since: now, lost: None };
    let place = moved.entry(key).or_insert(fresh);
    let still = place.deliveries == deliveries && place.floor == floor;
    // A consumer that was at rest stands still from now on at the earliest.
    let since = if still && !idle && !place.idle { place.since } else { now };
    *place = Place { since, lost: lost(place, lag, now), ..fresh };
    let stalled_for = now.duration_since(place.since);
    if let Some((lost, _)) = place.lost {
        let remedy = if lag.stream == EVENTS {
            "see choreo refill"
        } else {
            "no outbox holds them, and their senders must send them again"
        };
        let explanation =
            format!("{} discarded {lost} messages before {} had them: {remedy}", lag.stream, lag.service);
        findings.broken.push(broken("lost", explanation));
    } else if lag.stream != TIMERS
        && lag.first > floor + 1
        && floor > 0
        && (lag.first > delivered + 1 || pending == 0)
    {
        let (from, to) = (lag.floor + 1, lag.first - 1);
        let why = "whether they were for it is not known";
        findings
            .silent
            .push(format!("{} discarded {from} to {to} before {} came there; {why}", lag.stream, lag.service));
    }
    match observed.vitals.get(&lag.service) {
        Some(Err(why)) if lag.pending > 0 => findings.silent.push(format!("{why}, and {}", behind(lag))),
        _ if lag.pending > 0 && stalled_for > STILL => {
            findings.broken.push(broken("stalled", format!("{}, and nothing moves", behind(lag))));
        }
        _ if lag.unacknowledged > 0 && stalled_for > STALLED_UNACKNOWLEDGED => {
            let explanation = format!(
                "{} has {} messages of {} and does not acknowledge them",
                lag.service, lag.unacknowledged, lag.stream
            );
            findings.broken.push(broken("stalled", explanation));
        }
        _ => {}
    }
}

/// Nobody gave up.
pub(super) fn letters(observed: &Observed) -> (Check, Findings) {
    let mut findings = Findings::default();
    let mut looked = 0;
    if let Some(letters) = findings.read(&observed.letters) {
        looked = letters.count;
        findings.broken = letters.subjects.iter().map(|(subject, count)| letter(subject, *count)).collect();
        findings.unnamed = letters.subjects.iter().map(|(_, count)| (*count as u64).saturating_sub(1)).sum();
        if letters.count > 0 && letters.subjects.is_empty() {
            let explanation = "see `choreo dead-letters list`".to_owned();
            findings.broken.push(Broken::of(format!("{looked} dead letters"), explanation));
            findings.unnamed = letters.count.saturating_sub(1);
        }
    }
    (check("dead-letters", "Nobody gives up", looked, "no dead letters".to_owned()), findings)
}

/// `dead-letter.<service>.<reason>.<key>`
fn letter(subject: &str, count: usize) -> Broken {
    let tokens: Vec<&str> = subject.split('.').collect();
    let broken = match tokens.as_slice() {
        [_, service, reason, .., key] if count > 1 => {
            Broken::of(*key, format!("{service} gave up {count} messages about it: {reason}"))
        }
        [_, service, reason, .., key] => {
            Broken::of(*key, format!("{service} gave up a message about it: {reason}"))
        }
        _ => Broken::of(subject, "a dead letter"),
    };
    broken.identified(subject)
}
