//! Explains why a business id makes no progress: one timeline across all services, from the command to now.
//!
//! The streams hold the published messages, with their times and causation ids. Each service reports which of them it
//! has handled, which failed, were duplicates, or were dead-lettered, which are pending in its outbox, and the status
//! of its aggregate. The declared topology shows which services consume a message. Sources that are unavailable are
//! named, and the statuses that depend on them are unknown.
//!
//! In reading order: `timeline` is the result; `steps` reads the streams, `consumers` finds the delivery statuses,
//! `blockers` the reasons why it makes no progress; this module gathers the timeline.

mod blockers;
mod consumers;
mod steps;
mod timeline;

use std::collections::BTreeMap;
use std::time::Duration;

use choreography::dead_letter::STREAM_NAME;
use choreography::envelope::rfc3339;
use choreography::trace::{self, Trace};
use choreography::{Topology, clock};
use futures::future::join_all;
use uuid::Uuid;

use crate::dead_letters::is_token;
use crate::{OperationError, Operator};
pub use timeline::{Blocker, Consumer, DeliveryStatus, Reach, ServiceStatus, Source, Step, Timeline};

/// The time limit for the reply of a service.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// Gathers the timeline of a business id.
///
/// Unavailable sources are part of the timeline and not an error.
///
/// # Errors
///
/// [`OperationError::Invalid`] if the key is not a valid id.
pub async fn explain(operator: &Operator, key: &str, reach: Reach) -> Result<Timeline, OperationError> {
    if !is_token(key) {
        return Err(OperationError::Invalid(format!("{key:?} is not a valid id")));
    }
    let topology = &operator.system().topology;
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
    let consumed = |source: &&mut Source| topology.consumers.iter().any(|spec| spec.stream == source.name);
    for source in sources.iter_mut().filter(consumed).filter(|_| reach == Reach::Everything) {
        let unknown = steps::unknown_consumers(operator, &source.name).await;
        source.detail = match (source.detail.take(), unknown) {
            (Some(detail), Some(unknown)) => Some(format!("{detail}; {unknown}")),
            (detail, unknown) => detail.or(unknown),
        };
    }

    let services: BTreeMap<&str, Vec<Uuid>> = received(topology, &steps);
    let replies = join_all(services.into_iter().map(|(service, ids)| ask(operator, service, key, ids))).await;
    let mut traces = BTreeMap::new();
    for (service, reply) in replies {
        sources.push(match &reply {
            Ok(_) => Source::available(service),
            Err(why) => Source::failed(service, why.clone()),
        });
        traces.insert(service.to_owned(), reply);
    }
    consumers::attach(&mut steps, topology, &traces);
    let blocked_on = blockers::of(&steps, &traces, reach, operator.system());
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
    let request = trace::Request { message_ids };
    let reply = operator.ask(service, trace::subject(service, key), &request, REPLY_TIMEOUT).await;
    (service, reply.map_err(|error| error.to_string()))
}
