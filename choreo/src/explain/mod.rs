//! Why is this order stuck? One timeline across all services, from the command to now.
//!
//! The streams tell what was said, when, and in answer to what. Each service tells which of that it has handled, what
//! failed, what came again, what it gave up, what it has not published yet, and where it stands. Who should have heard
//! a message is known from the declared topology. What cannot be read or does not answer is named, and what would have
//! been known from there is said to be unknown.
//!
//! In reading order: this is what is told and how it is gathered; `steps` reads the streams, `consumers` says what
//! became of each message with each service, `blockers` what that leaves to wait for.

mod blockers;
mod consumers;
mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use messaging::dead_letter::STREAM_NAME;
use messaging::envelope::rfc3339;
use messaging::trace::{self, Trace};
use messaging::{Topology, clock};
use serde::Serialize;
use uuid::Uuid;

use crate::Operator;
use crate::dead_letters::is_token;
pub use consumers::{Consumer, DeliveryStatus};
pub use steps::Step;

/// How long a service may take to tell what it knows.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// What happened about one business id, and what it waits for. All times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// The business id.
    pub key: String,
    /// When this was asked.
    pub asked_at: String,
    /// Every message about it that a stream holds, in the order in which the streams got them.
    pub steps: Vec<Step>,
    /// Where it stands with each service that tells.
    pub services: Vec<ServiceStatus>,
    /// What it waits for at present; empty where it waits for nothing that is known.
    pub blocked_on: Vec<Blocker>,
    /// Where this was gathered, and what did not answer.
    pub sources: Vec<Source>,
}

/// Where it stands with one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Which service.
    pub service: String,
    /// Where it stands, in the service's words.
    pub state: String,
    /// Since when.
    pub since: Option<String>,
}

/// Something that it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocker {
    /// The service with which it waits.
    pub service: String,
    /// For what, in a sentence.
    pub what: String,
    /// Since when.
    pub since: Option<String>,
}

/// A stream or a service that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Whether it answered completely.
    pub available: bool,
    /// Why not.
    pub detail: Option<String>,
}

impl Source {
    fn answered(name: &str) -> Self {
        Self { name: name.to_owned(), available: true, detail: None }
    }

    fn failed(name: &str, why: String) -> Self {
        Self { name: name.to_owned(), available: false, detail: Some(why) }
    }
}

impl Timeline {
    /// Returns whether nothing at all is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.services.is_empty() && self.blocked_on.is_empty()
    }

    /// Returns whether everything that was asked has answered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.sources.iter().all(|source| source.available)
    }
}

/// What may be read beside the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All streams.
    Everything,
    /// All but the dead letters; of those it is known what their services tell.
    NotDeadLetters,
}

/// Gathers what happened about a business id.
///
/// What does not answer is among the sources; it is no error.
///
/// # Errors
///
/// Where the id cannot be one.
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

    let services: BTreeMap<&str, Vec<Uuid>> = received(&topology, &steps);
    let asked = join_all(services.into_iter().map(|(service, ids)| ask(operator, service, key, ids))).await;
    let mut traces = BTreeMap::new();
    for (service, answer) in asked {
        match answer {
            Ok(trace) => {
                sources.push(Source::answered(service));
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

/// What services have told, by their names; an error says why one has not.
type Traces = BTreeMap<String, Result<Trace, String>>;

/// Returns every service with the ids of the messages that it should have heard.
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
        let answer = operator.ask(service, trace::subject(service, key), body.into(), REPLY_TIMEOUT).await;
        let answer = answer.map_err(|error| error.to_string())?;
        serde_json::from_slice(&answer).map_err(|error| format!("the answer of {service} cannot be read: {error}"))
    };
    (service, asking.await)
}
