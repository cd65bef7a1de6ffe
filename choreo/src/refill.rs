//! A stream that lost its messages, filled again: each service publishes what it has said and keeps.
//!
//! The program asks for one batch at a time, always of the service that is furthest behind, so that no service gets
//! far ahead of the others; those of one service the stream gets exactly in the order in which they were said.
//! It can be ended and started again at any time: messages keep their ids, and whoever handled one drops it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream::stream::State;
use messaging::Topology;
use messaging::envelope::unix_millis;
use messaging::refill::{self, Refilled, Request};
use messaging::topology::StreamSpec;
use serde::Serialize;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Operator;

/// How long a service may take for one batch.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a batch is tried before its service is given up.
const TRIES: u32 = 5;

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
    /// Why it was given up, where it was; what it has published so far is in the stream.
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

/// Fills a stream again; `told` hears of each batch. Returns how far each service has come.
///
/// With `since`, only what was said since then is published. Once `stop` is cancelled no further batch is requested.
///
/// # Errors
///
/// Where the stream is not one of the store, is one that no outbox holds, or is not there.
pub async fn refill(
    operator: &Operator,
    stream: &str,
    since: Option<OffsetDateTime>,
    stop: &CancellationToken,
    mut told: impl FnMut(&Progress),
) -> anyhow::Result<Vec<Progress>> {
    let topology = Topology::parse(contracts::topology::TOPOLOGY)?;
    let spec = topology.streams.iter().find(|spec| spec.name == stream);
    let names: Vec<&str> = topology.streams.iter().map(|spec| spec.name.as_str()).collect();
    let spec = spec.with_context(|| format!("there is no stream {stream}; it is one of {}", names.join(", ")))?;
    let services = speakers(&topology, spec);
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
        (request.after, request.until) = (next.after, next.until);
        let Some(ended) = stop.run_until_cancelled(batch(operator, &next.progress.service, &request)).await else {
            break;
        };
        match ended {
            Ok(done) => next.advance(&done),
            Err(why) => next.progress.failed = Some(why),
        }
        told(&next.progress);
    }
    Ok(running.into_iter().map(|running| running.progress).collect())
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

    fn advance(&mut self, done: &Refilled) {
        self.progress.published += done.published;
        self.progress.known += done.known;
        self.progress.settled += done.settled;
        self.progress.done = done.next.is_none();
        (self.after, self.until) = (done.next, done.until);
        self.reached = done.reached.unwrap_or(i64::MAX);
    }
}

/// Asks for a batch until it is published; a batch may be repeated.
async fn batch(operator: &Operator, service: &str, request: &Request) -> Result<Refilled, String> {
    let body = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    let mut tries = 1;
    loop {
        let answer = operator.ask(service, refill::subject(service), body.clone().into(), PATIENCE).await;
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
fn speakers(topology: &Topology, spec: &StreamSpec) -> Vec<String> {
    let mut services: BTreeSet<String> = BTreeSet::new();
    for subject in &spec.subjects {
        let mut tokens = subject.split('.');
        match (tokens.next().unwrap_or_default(), tokens.next().unwrap_or_default()) {
            ("dead-letter", _) => services.extend(topology.consumers.iter().map(|spec| spec.name.clone())),
            (_, "command") => {}
            // Whoever says events in a context also sets its timers.
            (context, _) => {
                let speaker = contracts::topology::speaker(context, "event");
                services.extend(speaker.map(str::to_owned));
            }
        }
    }
    services.into_iter().collect()
}
