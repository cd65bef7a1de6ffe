//! Explains why an order is blocked: one timeline across all services, from the command to now.
//!
//! The streams hold the published messages, with their times and causation ids. Each service reports which of them it
//! has handled, which failed, were duplicates, or were dead-lettered, which are pending in its outbox, and the status
//! of its aggregate. The declared topology shows which services consume a message. Sources that are unavailable are
//! named, and the statuses that depend on them are unknown.
//!
//! In reading order: this module gathers the timeline; `steps` reads the streams, `consumers` finds the delivery
//! statuses, `blockers` the reasons why it makes no progress.

mod blockers;
mod consumers;
mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use choreography::dead_letter::STREAM_NAME;
use choreography::envelope::rfc3339;
use choreography::trace::{self, Trace};
use choreography::{Topology, clock};
use futures::future::join_all;
use serde::Serialize;
use uuid::Uuid;

use crate::Operator;
use crate::dead_letters::is_token;
pub use consumers::{Consumer, DeliveryStatus};
pub use steps::Step;

/// The time limit for the reply of a service.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// The history of one business id, and its blockers. All times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// The business id.
    pub key: String,
    /// When the timeline was requested.
    pub asked_at: String,
    /// Every message about it in the streams, in the order in which the streams stored them.
    pub steps: Vec<Step>,
    /// The status of its aggregate in each service that has one.
    pub services: Vec<ServiceStatus>,
    /// The current blockers; empty if none is known.
    pub blocked_on: Vec<Blocker>,
    /// The streams and services that were queried, and whether they were available.
    pub sources: Vec<Source>,
}

/// The status of the aggregate in one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// The name of the service.
    pub service: String,
    /// The state, as the service names it.
    pub state: String,
    /// The time since which it is in that state.
    pub since: Option<String>,
}

/// A reason why a business id makes no progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocker {
    /// The service that is blocked.
    pub service: String,
    /// The reason, as a sentence.
    pub what: String,
    /// The time since which it blocks.
    pub since: Option<String>,
}

/// A stream or a service that was queried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The name of the stream or the service.
    pub name: String,
    /// Whether it replied completely.
    pub available: bool,
    /// The reason if it did not; or the messages that a stream has discarded, if they may include the start of the
    /// timeline.
    pub detail: Option<String>,
}

impl Source {
    fn available(name: &str) -> Self {
        Self { name: name.to_owned(), available: true, detail: None }
    }

    fn failed(name: &str, why: String) -> Self {
        Self { name: name.to_owned(), available: false, detail: Some(why) }
    }
}

impl Timeline {
    /// Returns whether nothing is known about the business id.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.services.is_empty() && self.blocked_on.is_empty()
    }

    /// Returns whether all sources were available.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.sources.iter().all(|source| source.available)
    }
}

/// The streams that the caller may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All streams.
    Everything,
    /// All but `DEAD_LETTERS`; dead letters are known from the replies of their services.
    NotDeadLetters,
}

/// Gathers the timeline of a business id.
///
/// Unavailable sources are part of the timeline and not an error.
///
/// # Errors
///
/// If the key is not a valid id.
pub async fn explain(operator: &Operator, key: &str, reach: Reach) -> anyhow::Result<Timeline> {
    anyhow::ensure!(is_token(key), "{key:?} is not a valid id");
    let topology = Topology::parse(contracts::topology::TOPOLOGY)?;
    let streams = topology.streams.iter().map(|stream| stream.name.as_str());
    let streams = streams.filter(|name| reach == Reach::Everything || *name != STREAM_NAME);
    let read = join_all(streams.map(|stream| steps::read(operator, stream, key))).await;
    let (mut steps, mut sources) = (Vec::new(), Vec::new());
    for (read, source) in read {
        steps.extend(read);
        sources.push(source);
    }
    steps::order(&mut steps);
    if steps::may_lack_messages(&steps) {
        for source in sources.iter_mut().filter(|source| source.available) {
            source.detail = steps::discarded(operator, &source.name).await;
        }
    }

    let services: BTreeMap<&str, Vec<Uuid>> = received(&topology, &steps);
    let replies = join_all(services.into_iter().map(|(service, ids)| ask(operator, service, key, ids))).await;
    let mut traces = BTreeMap::new();
    for (service, reply) in replies {
        match reply {
            Ok(trace) => {
                sources.push(Source::available(service));
                traces.insert(service.to_owned(), Ok(trace));
            }
            Err(why) => {
                sources.push(Source::failed(service, why.clone()));
                traces.insert(service.to_owned(), Err(why));
            }
        }
    }
    consumers::attach(&mut steps, &topology, &traces);
    let blocked_on = blockers::of(&steps, &traces, reach);
    let services = traces.into_values().flatten().filter_map(|trace| {
        trace.status.map(|status| ServiceStatus {
            service: trace.service,
            state: status.state,
            since: status.since,
        })
    });
    Ok(Timeline {
        key: key.to_owned(),
        asked_at: rfc3339(clock::now()),
        services: services.collect(),
        blocked_on,
        sources,
        steps,
    })
}

/// The replies of the services by name, or the reason for a missing one.
type Traces = BTreeMap<String, Result<Trace, String>>;

/// Returns every service with the ids of the messages that it consumes.
fn received<'a>(topology: &'a Topology, steps: &[Step]) -> BTreeMap<&'a str, Vec<Uuid>> {
    let mut services: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
    for consumer in &topology.consumers {
        let ids = services.entry(&consumer.name).or_default();
        ids.extend(
            steps.iter().filter(|step| consumers::consumes(consumer, step)).filter_map(|step| step.message_id),
        );
    }
    for ids in services.values_mut() {
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(trace::MAX_IDS);
    }
    services
}

async fn ask<'a>(
    operator: &Operator,
    service: &'a str,
    key: &str,
    message_ids: Vec<Uuid>,
) -> (&'a str, Result<Trace, String>) {
    let asking = async {
        let body = serde_json::to_vec(&trace::Request { message_ids }).map_err(|error| error.to_string())?;
        let reply = operator.ask(service, trace::subject(service, key), body.into(), REPLY_TIMEOUT).await;
        let reply = reply.map_err(|error| error.to_string())?;
        serde_json::from_slice(&reply).map_err(|error| format!("the reply of {service} cannot be read: {error}"))
    };
    (service, asking.await)
}
