//! Restores a stream that lost messages: each service republishes the messages that its outbox retains.
//!
//! The program requests one batch at a time, always of the service with the oldest messages, so that no service gets
//! far ahead of the others. The stream stores the messages of one service in their original order.
//! The stream is a ring buffer. So the program waits while consumers have half of it still to read: restored messages
//! must not be deleted before they are consumed.
//!
//! It can be stopped and started again at any time: messages keep their ids, and the inbox drops duplicates.

use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::jetstream::context::GetStreamError;
use async_nats::jetstream::stream::State;
use choreography::envelope::unix_millis;
use choreography::position::Observed;
use choreography::provision::is_absent;
use choreography::republish::{self, Republished, Request};
use futures::TryStreamExt;
use serde::Serialize;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{OperationError, Operator};

/// The time limit for a service to republish one batch.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of attempts per batch, after which the restore of its service fails.
const MAX_ATTEMPTS: u32 = 5;
/// How long consumers may make no progress while the program waits for them: longer than the delay between the
/// attempts of a failing message.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// The time between two looks at their positions.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The progress of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Progress {
    /// The name of the service.
    pub service: String,
    /// Messages that the stream stored.
    pub published: u64,
    /// Messages that the stream recognised as duplicates.
    pub known: u64,
    /// Messages that are not republished: settled timers, dead letters that were handled.
    pub settled: u64,
    /// Whether the service has republished everything.
    pub done: bool,
    /// The reason of a failure; messages published before it are in the stream.
    pub failed: Option<String>,
}

/// The restore of one service in progress.
struct Running {
    progress: Progress,
    after: Option<Uuid>,
    /// The last batch to republish.
    until: Option<Uuid>,
    /// The time of the last republished message.
    reached: i64,
}

/// Restores a stream and calls `report` after each batch. Returns the progress of each service.
///
/// With `since`, only messages since then are republished. While consumers have half of the stream still to read, it
/// waits for them, unless they make no progress for `stall_timeout`. Once `stop` is cancelled no further batch is
/// requested.
///
/// # Errors
///
/// [`OperationError::Invalid`] if the stream is not part of the system, or no outbox retains its messages;
/// [`OperationError::Unavailable`] if it does not exist, or cannot be read for `stall_timeout`; [`OperationError::Stalled`] if its consumers make no progress
/// with half of it to read.
pub async fn restore(
    operator: &Operator,
    stream: &str,
    since: Option<OffsetDateTime>,
    stall_timeout: Duration,
    stop: &CancellationToken,
    mut report: impl FnMut(&Progress),
) -> Result<Vec<Progress>, OperationError> {
    let system = operator.system();
    let streams = &system.topology.streams;
    let spec = streams.iter().find(|spec| spec.name == stream);
    let names: Vec<&str> = streams.iter().map(|spec| spec.name.as_str()).collect();
    let unknown = || format!("there is no stream {stream}; it is one of {}", names.join(", "));
    let spec = spec.ok_or_else(|| OperationError::Invalid(unknown()))?;
    let services = system.producers(spec);
    if services.is_empty() {
        return Err(OperationError::Invalid(format!(
            "{stream} cannot be restored: its messages come from clients, and no outbox holds them. Handled messages \
             had their effect; acknowledged but unhandled messages are lost unless the stream has replicas, and their \
             senders must send them again (the same Idempotency-Key makes that safe)"
        )));
    }
    let found = operator.js().get_stream(stream).await;
    let found = found.with_context(|| {
        format!("stream {stream} does not exist; create it first (`{}`)", system.provision_command)
    })?;

    let mut request =
        Request { subjects: spec.subjects.clone(), since: since.map(unix_millis), ..Request::default() };
    request.intact_from = intact_from(&found.cached_info().state);
    let mut running: Vec<Running> = services.into_iter().map(Running::new).collect();
    while let Some(next) = running.iter_mut().filter(|running| running.continues()).min_by_key(|next| next.reached)
    {
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

/// Waits until all consumers of a stream have at most half of its capacity still to read.
///
/// # Errors
///
/// [`OperationError::Stalled`] if the slowest consumer makes no progress for `stall_timeout`;
/// [`OperationError::Unavailable`] if the stream does not exist any more, or cannot be read for as long.
async fn wait_for_consumers(
    operator: &Operator,
    stream: &str,
    stall_timeout: Duration,
) -> Result<(), OperationError> {
    let (mut before, mut progress) = (None, Instant::now());
    loop {
        let backlog = match backlog(operator, stream).await {
            Ok(backlog) => backlog,
            // A busy server may respond late; what is published so far must not be published again.
            Err(error) if !is_lost(&error) && progress.elapsed() <= stall_timeout => {
                tracing::warn!(error = format!("{error:#}"), "cannot read the consumers; trying again");
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if backlog.bytes <= backlog.limit / 2 {
            return Ok(());
        }
        let now = Some((backlog.consumed, backlog.deliveries));
        if before != now {
            (before, progress) = (now, Instant::now());
        } else if progress.elapsed() > stall_timeout {
            return Err(OperationError::Stalled(format!(
                "the consumer {} of {stream} makes no progress with {} of {} bytes to read; more would be deleted \
                 unconsumed. Messages published so far are in the stream; start the service, then repeat the command",
                backlog.consumer, backlog.bytes, backlog.limit
            )));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Returns whether the stream does not exist any more.
fn is_lost(error: &anyhow::Error) -> bool {
    error.downcast_ref::<GetStreamError>().is_some_and(is_absent)
}

/// The backlog of the slowest consumer.
struct Backlog {
    consumer: String,
    /// The sequence up to which it has acknowledged.
    consumed: u64,
    /// The number of its deliveries.
    deliveries: u64,
    /// The bytes after that sequence, if all messages have the same size.
    bytes: u64,
    /// The maximum size of the stream, in bytes.
    limit: u64,
}

async fn backlog(operator: &Operator, name: &str) -> anyhow::Result<Backlog> {
    let reading = || format!("reading the consumers of {name}");
    let stream = operator.js().get_stream(name).await.with_context(reading)?;
    let info = stream.cached_info();
    let limit = u64::try_from(info.config.max_bytes).ok().filter(|limit| *limit > 0).unwrap_or(u64::MAX);
    let (first, last) = (info.state.first_sequence, info.state.last_sequence);
    let mut furthest = Backlog { consumer: String::new(), consumed: last, deliveries: 0, bytes: 0, limit };
    let mut consumers = stream.consumers();
    while let Some(consumer) = consumers.try_next().await.with_context(reading)? {
        let observed = Observed::of(info, &consumer);
        // Consumers that are not durable serve live feeds.
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

/// Returns the sequence from which on the stream certainly lost no message.
fn intact_from(state: &State) -> u64 {
    match state.deleted_count {
        None | Some(0) => state.first_sequence,
        // Which messages are missing is not determined: the others are republished too, and the inbox drops them.
        Some(_) => state.last_sequence + 1,
    }
}

impl Running {
    fn new(service: &str) -> Self {
        let service = service.to_owned();
        let progress = Progress { service, published: 0, known: 0, settled: 0, done: false, failed: None };
        Self { progress, after: None, until: None, reached: i64::MIN }
    }

    fn continues(&self) -> bool {
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

/// Requests a batch until it is republished; a batch may be repeated.
async fn batch(operator: &Operator, service: &str, request: &Request) -> Result<Republished, String> {
    let mut attempts = 1;
    loop {
        match operator.ask(service, republish::subject(service), request, REPLY_TIMEOUT).await {
            Ok(republished) => return Ok(republished),
            Err(error) if attempts == MAX_ATTEMPTS => return Err(error.to_string()),
            Err(error) => tracing::debug!(service, %error, attempts, "a batch is requested again"),
        }
        tokio::time::sleep(Duration::from_millis(200) * 2_u32.pow(attempts)).await;
        attempts += 1;
    }
}
