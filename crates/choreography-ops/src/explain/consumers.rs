//! The delivery status of each message, per consuming service.

use std::collections::{HashMap, HashSet};

use choreography::Topology;
use choreography::topology::{ConsumerSpec, subject_matches};
use choreography::trace::{DeliveryIssue, Trace};
use uuid::Uuid;

use super::timeline::{Consumer, DeliveryStatus, Step, Traces};

/// Returns whether a message passes the filter of a consumer.
pub(super) fn consumes(consumer: &ConsumerSpec, step: &Step) -> bool {
    consumer.stream == step.stream
        && consumer.filter_subjects.iter().any(|filter| subject_matches(filter, &step.subject))
}

/// The evidence in the streams, for services that do not reply.
struct Evidence {
    /// The services and the ids of the messages that caused one of theirs.
    causes: HashSet<(String, Uuid)>,
    /// The messages that are dead letters, by service, stream, and sequence; `true` if the dead letter was deleted.
    dead_lettered: HashMap<(String, String, u64), bool>,
}

impl Evidence {
    fn of(steps: &[Step]) -> Self {
        let causes = steps.iter().filter(|step| step.dead_lettered.is_none()).filter_map(|step| {
            let service = step.source.as_deref()?.strip_prefix('/')?.to_owned();
            Some((service, step.causation_id?))
        });
        let dead_lettered = steps.iter().filter_map(|step| {
            let dead_lettered = step.dead_lettered.clone()?;
            Some(((dead_lettered.service, dead_lettered.stream, dead_lettered.sequence), dead_lettered.deleted))
        });
        Self { causes: causes.collect(), dead_lettered: dead_lettered.collect() }
    }
}

/// Adds the delivery statuses to each step.
pub(super) fn attach(steps: &mut [Step], topology: &Topology, traces: &Traces) {
    let evidence = Evidence::of(steps);
    for step in steps {
        let consumers = topology.consumers.iter().filter(|consumer| consumes(consumer, step));
        let consumers = consumers.map(|consumer| {
            let trace = traces.get(&consumer.name).and_then(|trace| trace.as_ref().ok());
            status_at(&consumer.name, step, trace, &evidence)
        });
        step.consumers = consumers.collect();
    }
}

fn status_at(service: &str, step: &Step, trace: Option<&Trace>, evidence: &Evidence) -> Consumer {
    let place = (service.to_owned(), step.stream.clone(), step.sequence);
    let dead_letter = evidence.dead_lettered.get(&place).copied();
    let mut consumer = Consumer::pending(service);
    let Some(trace) = trace else {
        let has_effect = step.message_id.is_some_and(|id| evidence.causes.contains(&(service.to_owned(), id)));
        consumer.status = match dead_letter {
            Some(deleted) => gone(deleted),
            None if has_effect => DeliveryStatus::Handled,
            None => DeliveryStatus::Unknown,
        };
        return consumer;
    };
    let handled = trace.handled.iter().find(|handled| Some(handled.message_id) == step.message_id);
    if let Some(handled) = handled {
        (consumer.status, consumer.at) = (DeliveryStatus::Handled, Some(handled.at.clone()));
    }
    if let Some(delivery_issue) = trace.delivery_issues.iter().find(|delivery_issue| is_about(delivery_issue, step))
    {
        (consumer.failures, consumer.duplicates) = (delivery_issue.failures, delivery_issue.duplicates);
        consumer.failure = delivery_issue.detail.clone();
        if let Some(redriven) = &delivery_issue.redriven_at {
            (consumer.status, consumer.at) = (DeliveryStatus::Redriven, Some(redriven.clone()));
        } else if let Some(dead_lettered) = &delivery_issue.dead_lettered_at {
            (consumer.status, consumer.at) = (gone(dead_letter.unwrap_or(false)), Some(dead_lettered.clone()));
        }
    }
    consumer
}

fn gone(deleted: bool) -> DeliveryStatus {
    if deleted { DeliveryStatus::Deleted } else { DeliveryStatus::DeadLettered }
}

/// A message with invalid headers has no usable id; its stream and sequence identify it.
fn is_about(delivery_issue: &DeliveryIssue, step: &Step) -> bool {
    let same_place = delivery_issue.stream == step.stream
        && u64::try_from(delivery_issue.sequence).is_ok_and(|place| place == step.sequence);
    Some(delivery_issue.message_id) == step.message_id || same_place
}
