//! A stream that lost its messages, filled again: each service publishes what it has said and keeps.
//!
//! The program asks for one batch at a time, always of the service that is furthest behind, so that no service gets
//! far ahead of the others; those of one service the stream gets exactly in the order in which they were said.
//! The stream is a ring buffer. So the program waits for the consumers while they have half of it still to read: what was
//! restored must not be deleted unconsumed.
//!
//! It can be ended and started again at any time: messages keep their ids, and whoever handled one drops it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_nats::jetstream::stream::State;
use futures::TryStreamExt;
use messaging::Topology;
use messaging::envelope::unix_millis;
use messaging::position::Observed;
use messaging::republish::{self, Republished, Request};
use messaging::topology::StreamSpec;
use serde::Serialize;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Operator;

/// How long a service may take for one batch.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a batch is tried before its service is given up.
const TRIES: u32 = 5;
/// How long the consumers may stand still while the program waits for them: longer than a message that failed waits for its
/// next attempt.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// How often they are looked at meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How far a service has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Which service.
    pub service: String,
    /// Messages that the stream has taken.
    pub published: u64,
    /// Messages that the stream still knew.
    pub known: u64,
    /// Messages that are not published again: settled timers, dead letters that were handled.
    pub settled: u64,
    /// Whether everything is published.
    pub done: bool,
    /// Why it was dead-lettered, where it was; what it has published so far is in the stream.
    pub failed: Option<String>,
}

/// A service under way.
struct Running {
    progress: Progress,
    after: Option<Uuid>,
    /// Where it ends.
    until: Option<Uuid>,
    /// When the last message that it has published was said.
    reached: i64,
}

/// Fills a stream again; `report` hears of each batch. Returns how far each service has come.
///
/// With `since`, only what was said since then is published. While consumers have half of the stream still to read, it waits
/// for them, as long as they do not stand still for `stall_timeout`. Once `stop` is cancelled no further batch is requested.
///
/// # Errors
///
/// Where the stream is not one of the shop, is one that no outbox holds, or is not there; and if its consumers stand still
/// with half of it to read.
pub async fn restore(
    operator: &Operator,
    stream: &str,
    since: Option<OffsetDateTime>,
    stall_timeout: Duration,
    stop: &CancellationToken,
    mut report: impl FnMut(&Progress),
) -> anyhow::Result<Vec<Progress>> {
    let topology = Topology::parse(contracts::topology::TOPOLOGY)?;
    let spec = topology.streams.iter().find(|spec| spec.name == stream);
    let names: Vec<&str> = topology.streams.iter().map(|spec| spec.name.as_str()).collect();
    let spec = spec.with_context(|| format!("there is no stream {stream}; it is one of {}", names.join(", ")))?;
    let services = producers(&topology, spec);
    if services.is_empty() {
        bail!(
            "{stream} cannot be filled again: what it holds comes from outside, and no outbox has it. What was handled \
             has had its effect; what was acknowledged and not handled is lost unless the stream has replicas, and its \
             senders must send it again (the same Idempotency-Key makes that safe)"
        );
    }
    let found = operator.js().get_stream(stream).await;
    let found =
        found.with_context(|| format!("stream {stream} is not there; make it again first (`demo provision`)"))?;

    let mut request =
        Request { subjects: spec.subjects.clone(), since: since.map(unix_millis), ..Request::default() };
    request.intact_from = intact_from(&found.cached_info().state);
    let mut running: Vec<Running> = services.into_iter().map(Running::new).collect();
    while let Some(next) = running.iter_mut().filter(|running| running.goes_on()).min_by_key(|next| next.reached) {
        let waiting = wait_for_consumers(operator, stream, stall_timeout);
        let Some(waited) = stop.run_until_cancelled(waiting).await else { break };
        waited?;
        (request.after, request.until) = (next.after, next.until);
        let Some(ended) = stop.run_until_cancelled(batch(operator, &next.progress.service, &request)).await else {
            break;
        };
        match ended {
            Ok(done) => next.advance(&done),
            Err(why) => next.progress.failed = Some(why),
        }
        report(&next.progress);
    }
    Ok(running.into_iter().map(|running| running.progress).collect())
}

/// Waits until the consumers of a stream have less than half of what it holds at most still to read.
///
/// # Errors
///
/// If the one that is furthest behind gets nothing for as long as `stall_timeout`.
async fn wait_for_consumers(operator: &Operator, stream: &str, stall_timeout: Duration) -> anyhow::Result<()> {
    let (mut before, mut progress) = (None, Instant::now());
    loop {
        let backlog = backlog(operator, stream).await?;
        if backlog.bytes <= backlog.limit / 2 {
            return Ok(());
        }
        let now = Some((backlog.consumed, backlog.deliveries));
        if before != now {
            (before, progress) = (now, Instant::now());
        } else if progress.elapsed() > stall_timeout {
            bail!(
                "the consumer {} of {stream} stands still with {} of {} bytes to read; more would be deleted unconsumed. \
                 What is published so far is in the stream; start the service, then run this again",
                backlog.consumer,
                backlog.bytes,
                backlog.limit
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// What the consumer that is furthest behind has still to read.
struct Backlog {
    consumer: String,
    /// The sequence up to which it has read.
    consumed: u64,
    /// How many deliveries it has had.
    deliveries: u64,
    /// The bytes after that, if all messages are of the same size.
    bytes: u64,
    /// How many bytes the stream holds at most.
    limit: u64,
}

async fn backlog(operator: &Operator, name: &str) -> anyhow::Result<Backlog> {
    let looking = || format!("looking at the consumers of {name}");
    let stream = operator.js().get_stream(name).await.with_context(looking)?;
    let info = stream.cached_info();
    let limit = u64::try_from(info.config.max_bytes).ok().filter(|limit| *limit > 0).unwrap_or(u64::MAX);
    let (first, last) = (info.state.first_sequence, info.state.last_sequence);
    let mut furthest = Backlog { consumer: String::new(), consumed: last, deliveries: 0, bytes: 0, limit };
    let mut consumers = stream.consumers();
    while let Some(consumer) = consumers.try_next().await.with_context(looking)? {
        let observed = Observed::of(info, &consumer);
        // Those of live feeds are no service's.
        let is_behind = observed.outstanding() > 0 && observed.acknowledged() < furthest.consumed;
        if is_behind && consumer.config.durable_name.is_some() {
            furthest.consumer.clone_from(&consumer.name);
            (furthest.consumed, furthest.deliveries) = (observed.acknowledged(), observed.deliveries);
        }
    }
    let unread = last.saturating_sub(furthest.consumed.max(first.saturating_sub(1)));
    let share = u128::from(info.state.bytes) * u128::from(unread) / u128::from(info.state.messages.max(1));
    furthest.bytes = u64::try_from(share).unwrap_or(u64::MAX).min(info.state.bytes);
    Ok(furthest)
}

/// Returns from which sequence on a stream certainly lacks nothing that it once had.
fn intact_from(state: &State) -> u64 {
    match state.deleted_count {
        None | Some(0) => state.first_sequence,
        // Which ones is not worth asking: what is there is published once more, and dropped by who handled it.
        Some(_) => state.last_sequence + 1,
    }
}

impl Running {
    fn new(service: String) -> Self {
        let progress = Progress { service, published: 0, known: 0, settled: 0, done: false, failed: None };
        Self { progress, after: None, until: None, reached: i64::MIN }
    }

    fn goes_on(&self) -> bool {
        !self.progress.done && self.progress.failed.is_none()
    }

    fn advance(&mut self, done: &Republished) {
        self.progress.published += done.published;
        self.progress.known += done.known;
        self.progress.settled += done.settled;
        self.progress.done = done.next.is_none();
        (self.after, self.until) = (done.next, done.until);
        self.reached = done.reached.unwrap_or(i64::MAX);
    }
}

/// Asks for a batch until it is published; a batch may be repeated.
async fn batch(operator: &Operator, service: &str, request: &Request) -> Result<Republished, String> {
    let body = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    let mut tries = 1;
    loop {
        let answer = operator.ask(service, republish::subject(service), body.clone().into(), REPLY_TIMEOUT).await;
        match answer {
            Ok(answer) => {
                return serde_json::from_slice(&answer)
                    .map_err(|error| format!("the answer of {service} cannot be read: {error}"));
            }
            Err(error) if tries == TRIES => return Err(error.to_string()),
            Err(error) => tracing::debug!(service, %error, tries, "a batch is tried again"),
        }
        tokio::time::sleep(Duration::from_millis(200) * 2_u32.pow(tries)).await;
        tries += 1;
    }
}

/// Returns the services that keep in their outboxes what a stream holds.
fn producers(topology: &Topology, spec: &StreamSpec) -> Vec<String> {
    let mut services: BTreeSet<String> = BTreeSet::new();
    for subject in &spec.subjects {
        let mut tokens = subject.split('.');
        match (tokens.next().unwrap_or_default(), tokens.next().unwrap_or_default()) {
            ("dead-letter", _) => services.extend(topology.consumers.iter().map(|spec| spec.name.clone())),
            (_, "command") => {}
            // Whoever says events in a context also sets its timers.
            (context, _) => {
                let producer = contracts::topology::producer(context, "event");
                services.extend(producer.map(str::to_owned));
            }
        }
    }
    services.into_iter().collect()
}
