//! Whether messages get on: out of the outboxes, to the consumers, and not into the dead letters.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::observe::Observed;
use super::super::{Broken, Check};
use super::{Findings, behind, check};

/// So old a message that is not published is not normal.
const OLD: i64 = 10_000;
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
            findings.broken.push(Broken { key: vitals.service.clone(), explanation });
        }
        if let Some(age) = vitals.outbox_age_ms.filter(|age| *age > OLD) {
            let explanation =
                format!("{} messages are not published, the oldest for {} s", vitals.outbox_depth, age / 1000);
            findings.broken.push(Broken { key: vitals.service.clone(), explanation });
        }
    }
    let looked = observed.vitals.len() as u64;
    let detail = match oldest {
        Some(age) => format!("{depth} messages on their way out, the oldest for {age} ms"),
        None => format!("{looked} outboxes are empty"),
    };
    (check("outboxes", "What is said gets published", looked, detail), findings)
}

/// What is published gets handled.
pub(super) fn consumers(
    observed: &Observed,
    moved: &mut HashMap<(String, String), (u64, Instant)>,
    now: Instant,
) -> (Check, Findings) {
    let mut findings = Findings::default();
    let (mut looked, mut lags) = (0, Vec::new());
    if let Some(all) = findings.read(&observed.lags) {
        looked = all.len() as u64;
        for lag in all {
            let key = (lag.service.clone(), lag.stream.clone());
            if lag.pending == 0 {
                moved.remove(&key);
                continue;
            }
            let place = lag.floor + lag.delivered;
            let since = moved.entry(key).or_insert((place, now));
            if since.0 != place {
                *since = (place, now);
            }
            lags.push(behind(lag));
            match observed.vitals.get(&lag.service) {
                Some(Err(why)) => findings.silent.push(format!("{why}, and {}", behind(lag))),
                _ if now.duration_since(since.1) > STILL => {
                    let explanation = format!("{}, and nothing moves", behind(lag));
                    findings.broken.push(Broken { key: lag.service.clone(), explanation });
                }
                _ => {}
            }
        }
    }
    let detail = if lags.is_empty() { "nobody is behind".to_owned() } else { lags.join("; ") };
    (check("consumers", "What is published gets handled", looked, detail), findings)
}

/// Nobody gave up.
pub(super) fn letters(observed: &Observed) -> (Check, Findings) {
    let mut findings = Findings::default();
    let mut looked = 0;
    if let Some(letters) = findings.read(&observed.letters) {
        looked = letters.count;
        findings.broken = letters.subjects.iter().map(|subject| letter(subject)).collect();
        if letters.count > 0 && letters.subjects.is_empty() {
            let explanation = "see `choreo dead-letters list`".to_owned();
            findings.broken.push(Broken { key: format!("{looked} dead letters"), explanation });
        }
    }
    (check("dead-letters", "Nobody gives up", looked, "no dead letters".to_owned()), findings)
}

/// `dead-letter.<service>.<reason>.<key>`
fn letter(subject: &str) -> Broken {
    let tokens: Vec<&str> = subject.split('.').collect();
    match tokens.as_slice() {
        [_, service, reason, .., key] => Broken {
            key: (*key).to_owned(),
            explanation: format!("{service} gave up a message about it: {reason}"),
        },
        _ => Broken { key: subject.to_owned(), explanation: "a dead letter".to_owned() },
    }
}
