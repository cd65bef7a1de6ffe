//! Queries the services and the streams, in the order that their comparison needs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer;
use choreography::clock;
use choreography::dead_letter::STREAM_NAME;
use choreography::provision::is_absent;
use choreography::stats::{self, Stats};
use choreography::topology::StreamSpec;
use futures::TryStreamExt;
use futures::future::join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::board::Reply;
use crate::{Operator, System, UnknownConsumer};

/// The time limit for a reply: two queries in succession stay below the maximum age of a shared result.
const REPLY_TIMEOUT: Duration = Duration::from_millis(1200);
/// The maximum number of dead letters that are reported individually.
const MAX_DEAD_LETTERS: u64 = 1000;
/// The reply of a source without a connection.
const DISCONNECTED: &str = "nats-server is unavailable";

/// Queries services for a system's own checks.
#[derive(Debug, Clone)]
pub struct Queries {
    operator: Operator,
    is_connected: bool,
}

impl Queries {
    pub(super) fn new(operator: &Operator) -> Self {
        Self { operator: operator.clone(), is_connected: operator.is_connected() }
    }

    /// Sends a request to a service and returns the reply, within 1.2 s. Both are JSON; `()` is an empty request.
    ///
    /// # Errors
    ///
    /// The reason for a missing reply.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        service: &str,
        subject: impl Into<String>,
        request: &(impl Serialize + Sync),
    ) -> Reply<T> {
        if !self.is_connected {
            return Err(DISCONNECTED.to_owned());
        }
        let reply = self.operator.ask(service, subject.into(), request, REPLY_TIMEOUT).await;
        reply.map_err(|error| error.to_string())
    }
}

/// The observed flow of messages.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Of each service that consumes a stream.
    pub stats: BTreeMap<String, Reply<Stats>>,
    /// The consumer lags, taken last.
    pub lags: Reply<Vec<Lag>>,
    /// The consumers that belong to no service of the topology.
    pub unknown_consumers: Vec<UnknownConsumer>,
    /// The dead letters.
    pub dead_letters: Reply<DeadLetters>,
    /// The time before the first query.
    pub at: OffsetDateTime,
    /// Whether no message was under way from before the first query until after the last reply.
    pub quiet: bool,
}

impl Observed {
    /// The observation without a connection.
    fn nothing(at: OffsetDateTime) -> Self {
        let why = || DISCONNECTED.to_owned();
        Self {
            stats: BTreeMap::from([("the services".to_owned(), Err(why()))]),
            lags: Err(why()),
            unknown_consumers: Vec::new(),
            dead_letters: Err(why()),
            at,
            quiet: false,
        }
    }
}

/// The lag of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The name of the service, and of the consumer.
    pub service: String,
    /// The name of the stream.
    pub stream: String,
    /// Messages that are not delivered yet.
    pub pending: u64,
    /// Messages that are delivered and not acknowledged.
    pub unacknowledged: usize,
    /// The ack floor: all messages up to this sequence are acknowledged.
    pub floor: u64,
    /// The sequence of the last delivered message.
    pub delivered: u64,
    /// The number of deliveries, redeliveries included.
    pub deliveries: u64,
    /// The first sequence in the stream.
    pub first: u64,
    /// The last sequence in the stream.
    pub last: u64,
    /// The command that creates the consumer or the stream, if it does not exist.
    pub missing: Option<String>,
    /// Whether the stream has events, which outboxes retain.
    pub has_events: bool,
    /// Whether the stream has timers, which it replaces and removes.
    pub has_timers: bool,
}

impl Lag {
    /// Returns a sentence about the lag.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { service, stream, pending, .. } = self;
        match &self.missing {
            Some(command) => format!("{service} has no consumer of {stream}: run {command}"),
            None => format!("{pending} messages of {stream} wait for {service}"),
        }
    }
}

/// The dead letters by subject.
#[derive(Debug, Clone, Default)]
pub struct DeadLetters {
    /// The number of dead letters.
    pub count: u64,
    /// The subjects and the number of messages of each, unless there are too many.
    pub subjects: Vec<(String, usize)>,
}

/// Observes the flow of messages around a system's own queries; if nats-server is unavailable, nothing.
pub(super) async fn observe<T>(operator: &Operator, own: impl Future<Output = T>) -> (Observed, T) {
    let at = clock::now();
    if !operator.is_connected() {
        return (Observed::nothing(at), own.await);
    }
    let before = lags(operator).await;
    let (own, stats, dead_letters) = tokio::join!(own, all_stats(operator), dead_letters(operator));
    let after = lags(operator).await;
    let (after, unknown_consumers) = match after {
        Ok((lags, unknown)) => (Ok(lags), unknown),
        Err(why) => (Err(why), Vec::new()),
    };
    let outboxes_empty = stats.values().all(|stats| stats.as_ref().is_ok_and(|stats| stats.outbox_depth == 0));
    let handled = |lags: &[Lag]| lags.iter().all(|lag| lag.pending == 0 && lag.unacknowledged == 0);
    let quiet = outboxes_empty
        && matches!((&before, &after), (Ok((before, _)), Ok(after)) if handled(before) && before == after);
    (Observed { stats, lags: after, unknown_consumers, dead_letters, at, quiet }, own)
}

async fn all_stats(operator: &Operator) -> BTreeMap<String, Reply<Stats>> {
    let system = operator.system();
    let request = &stats::Request { once_per_key: system.once_per_key.clone() };
    let replies = system.services().into_iter().map(|service| async move {
        let reply = operator.ask(service, stats::subject(service), request, REPLY_TIMEOUT).await;
        (service.to_owned(), reply.map_err(|error| error.to_string()))
    });
    join_all(replies).await.into_iter().collect()
}

/// Reads the lags of the consumers of all services, and the consumers of no service.
async fn lags(operator: &Operator) -> Reply<(Vec<Lag>, Vec<UnknownConsumer>)> {
    let System { topology, .. } = operator.system();
    let reading = async {
        let (mut lags, mut unknown) = (Vec::new(), Vec::new());
        for stream in &topology.streams {
            if topology.consumers.iter().any(|spec| spec.stream == stream.name) {
                let (of_stream, others) = lags_of(operator, stream).await?;
                lags.extend(of_stream);
                unknown.extend(others);
            }
        }
        anyhow::Ok((lags, unknown))
    };
    match tokio::time::timeout(REPLY_TIMEOUT, reading).await {
        Ok(lags) => lags.map_err(|error| format!("{error:#}")),
        Err(_) => Err("nats-server did not reply in time".to_owned()),
    }
}

/// Reads the consumers of one stream: the lags of those of services, and the others.
async fn lags_of(operator: &Operator, spec: &StreamSpec) -> anyhow::Result<(Vec<Lag>, Vec<UnknownConsumer>)> {
    let system = operator.system();
    let System { topology, provision_command, .. } = system;
    let reading = || format!("reading the stream {}", spec.name);
    let (state, infos) = match operator.js().get_stream(&spec.name).await {
        Ok(stream) => {
            let state = stream.cached_info().state.clone();
            let infos: Vec<consumer::Info> = stream.consumers().try_collect().await.with_context(reading)?;
            (Some(state), infos)
        }
        Err(error) if is_absent(&error) => (None, Vec::new()),
        Err(error) => return Err(error).with_context(reading),
    };
    let (first, last) = state.map_or((0, 0), |state| (state.first_sequence, state.last_sequence));
    let lags = topology.consumers.iter().filter(|consumer| consumer.stream == spec.name).map(|consumer| {
        let info = infos.iter().find(|info| info.name == consumer.name);
        Lag {
            service: consumer.name.clone(),
            stream: spec.name.clone(),
            pending: info.map_or(0, |info| info.num_pending),
            unacknowledged: info.map_or(0, |info| info.num_ack_pending),
            floor: info.map_or(0, |info| info.ack_floor.stream_sequence),
            delivered: info.map_or(0, |info| info.delivered.stream_sequence),
            deliveries: info.map_or(0, |info| info.delivered.consumer_sequence),
            first,
            last,
            missing: info.is_none().then(|| provision_command.clone()),
            has_events: spec.subjects.iter().any(|subject| subject.split('.').nth(1) == Some("event")),
            has_timers: spec.schedules,
        }
    });
    Ok((lags.collect(), system.unknown_consumers(&spec.name, &infos)))
}

async fn dead_letters(operator: &Operator) -> Reply<DeadLetters> {
    let reading = async {
        let stream = operator.js().get_stream(STREAM_NAME).await?;
        if stream.cached_info().state.messages == 0 {
            return anyhow::Ok(DeadLetters::default());
        }
        // Copies of deleted dead letters are in the same stream.
        let subjects: Vec<(String, usize)> =
            stream.info_with_subjects("dead-letter.>").await?.try_collect().await?;
        let count = subjects.iter().map(|(_, count)| *count as u64).sum();
        let subjects = if count > MAX_DEAD_LETTERS { Vec::new() } else { subjects };
        Ok(DeadLetters { count, subjects })
    };
    match tokio::time::timeout(REPLY_TIMEOUT, reading).await {
        Ok(dead_letters) => dead_letters.map_err(|error| format!("the dead letters: {error:#}")),
        Err(_) => Err("nats-server did not reply in time".to_owned()),
    }
}
