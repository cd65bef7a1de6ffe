//! The messages about a business id in the streams.

use std::collections::{HashMap, HashSet};

use async_nats::jetstream::consumer;
use choreography::direct::{Reader, Stored};
use choreography::envelope::REPUBLISHED;
use choreography::envelope::{self, rfc3339};
use choreography::{Auth, dead_letter};
use futures::TryStreamExt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::timeline::{DeadLettered, Source, Step};
use crate::Operator;

/// The maximum number of messages to read per stream.
const MAX_STEPS: usize = 500;

/// Reads the messages about a key in a stream.
pub(super) async fn read(operator: &Operator, stream: &str, key: &str) -> (Vec<Step>, Source) {
    let mut steps = Vec::new();
    let reading = async {
        let mut reader = Reader::start(operator.js(), stream, &format!("*.*.*.{key}"), 1).await?;
        while let Some(batch) = reader.next_batch().await? {
            steps.extend(batch.iter().map(|stored| step(stream, stored)));
            if steps.len() >= MAX_STEPS {
                return anyhow::Ok(false);
            }
        }
        Ok(true)
    };
    let source = match reading.await {
        Ok(true) => Source::available(stream),
        Ok(false) => {
            Source::failed(stream, format!("only its first {} messages about {key} were read", steps.len()))
        }
        Err(error) => Source::failed(stream, format!("{error:#}")),
    };
    (steps, source)
}

/// Returns whether earlier messages may be missing: there are no steps, or the cause of one is in no stream.
pub(super) fn may_lack_messages(steps: &[Step]) -> bool {
    let known: HashSet<Uuid> = steps.iter().filter_map(|step| step.message_id).collect();
    steps.is_empty() || steps.iter().filter_map(|step| step.causation_id).any(|cause| !known.contains(&cause))
}

/// Describes the messages that a stream has discarded; none if it has its first message, or cannot be read.
pub(super) async fn discarded(operator: &Operator, stream: &str) -> Option<String> {
    let first = operator.js().get_stream(stream).await.ok()?.cached_info().state.first_sequence;
    (first > 1)
        .then(|| format!("its messages up to sequence {} are discarded; some may have been of this id", first - 1))
}

/// Names the consumers of a stream that belong to no service of the topology; none if the stream cannot be read.
pub(super) async fn unknown_consumers(operator: &Operator, stream: &str) -> Option<String> {
    let found = operator.js().get_stream(stream).await.ok()?;
    let infos: Vec<consumer::Info> = found.consumers().try_collect().await.ok()?;
    let unknown = operator.system().unknown_consumers(stream, &infos);
    let unknown: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    (!unknown.is_empty()).then(|| unknown.join("; "))
}

/// Sorts steps by time, restored ones by the time of the message, and sets their depths.
pub(super) fn order(steps: &mut [Step]) {
    steps.sort_by(|a, b| (&a.order, &a.stream, a.sequence).cmp(&(&b.order, &b.stream, b.sequence)));
    let mut depths: HashMap<Uuid, usize> = HashMap::new();
    for step in steps {
        step.depth = step.causation_id.and_then(|cause| depths.get(&cause)).map_or(0, |depth| depth + 1);
        if let Some(id) = step.message_id {
            depths.entry(id).or_insert(step.depth);
        }
    }
}

fn step(stream: &str, stored: &Stored) -> Step {
    let id = |name: &str| stored.header(name).and_then(|text| Uuid::parse_str(text).ok());
    let dead_lettered = dead_lettered(stored);
    // The headers of a dead letter, its time included, are those of the original message.
    let published = stored.header(envelope::TIME).filter(|_| dead_lettered.is_none());
    let published = published.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let restored = stored.header(REPUBLISHED).is_some();
    let delay = published.map(|published| (stored.time - published).whole_milliseconds());
    Step {
        time: fixed(stored.time),
        stream: stream.to_owned(),
        sequence: stored.sequence,
        subject: stored.subject.clone(),
        source: match &dead_lettered {
            Some(dead_lettered) => Some(format!("/{}", dead_lettered.service)),
            None => stored.header(envelope::SOURCE).map(str::to_owned),
        },
        message_id: id(envelope::ID).filter(|_| dead_lettered.is_none()),
        causation_id: if dead_lettered.is_some() { id(envelope::ID) } else { id(envelope::CAUSATION_ID) },
        by: principal(stored),
        depth: 0,
        // The time header of a timer is the time at which it was set.
        outbox_delay_ms: delay
            .filter(|_| !restored && !stored.subject.contains(".timer."))
            .and_then(|ms| i64::try_from(ms).ok()),
        note: note(stored),
        consumers: Vec::new(),
        order: fixed(published.filter(|_| restored).unwrap_or(stored.time)),
        stored_as: id(envelope::NATS_MESSAGE_ID),
        dead_lettered,
    }
}

/// Returns the principal of a message, `<kind>:<id>`.
fn principal(stored: &Stored) -> Option<String> {
    let auth = Auth::parse(stored.header(envelope::AUTH_TYPE)?, stored.header(envelope::AUTH_ID));
    auth.map(|auth| auth.to_text())
}

fn dead_lettered(stored: &Stored) -> Option<DeadLettered> {
    let deleted = stored.subject.starts_with(dead_letter::DELETED);
    if !deleted && !stored.subject.starts_with("dead-letter.") {
        return None;
    }
    Some(DeadLettered {
        service: stored.header(dead_letter::CONSUMER)?.to_owned(),
        stream: stored.header(dead_letter::STREAM)?.to_owned(),
        sequence: stored.header(dead_letter::SEQUENCE)?.parse().ok()?,
        deleted,
    })
}

fn note(stored: &Stored) -> Option<String> {
    if let Some(why) = stored.header(crate::dead_letters::delete::REASON) {
        return Some(format!("deleted: {why}"));
    }
    if let Some(detail) = stored.header(dead_letter::DETAIL) {
        let attempts = stored.header(dead_letter::ATTEMPTS).unwrap_or("?");
        return Some(format!("dead-lettered after {attempts} attempts: {detail}"));
    }
    if let Some(schedule) = stored.header("Nats-Schedule") {
        return Some(format!("due at {}", schedule.trim_start_matches("@at ")));
    }
    if stored.header("Nats-Rollup").is_some() {
        return Some("cancelled".to_owned());
    }
    stored.header(REPUBLISHED).map(|_| "republished by a stream restore".to_owned())
}

/// Formats a time with all nine digits of its fraction, so that texts sort like times.
fn fixed(time: OffsetDateTime) -> String {
    let text = rfc3339(time.replace_nanosecond(0).unwrap_or(time));
    format!("{}.{:09}Z", text.trim_end_matches('Z'), time.nanosecond())
}
