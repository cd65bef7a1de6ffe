//! The reasons why a business id makes no progress.

use std::collections::HashSet;

use choreography::AggregateStatus;
use choreography::trace::{PendingMessage, Trace};
use uuid::Uuid;

use super::timeline::{Blocker, Consumer, DeliveryStatus, Reach, Step, Traces};
use crate::System;

/// Returns the blockers, oldest first.
pub(super) fn of(steps: &[Step], traces: &Traces, reach: Reach, system: &System) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    for step in steps {
        blockers.extend(step.consumers.iter().filter_map(|consumer| unhandled(step, consumer, traces)));
    }
    // A service records the acknowledgement of a message a little later than the stream stores it.
    let stored: HashSet<Uuid> = steps.iter().flat_map(|step| [step.message_id, step.stored_as]).flatten().collect();
    for trace in traces.values().flatten() {
        let pending = trace.outbox_pending.iter().filter(|message| {
            !stored.contains(&message.message_id)
                && (reach == Reach::Everything || !message.subject.starts_with("dead-letter."))
        });
        blockers.extend(pending.map(|message| pending_message(trace, message)));
        blockers.extend(trace.status.as_ref().and_then(|status| own(trace, status)));
    }
    if blockers.is_empty() {
        blockers.extend(traces.values().flatten().filter_map(|trace| stalled(trace, system)));
    }
    for wait in &mut blockers {
        add_problems(wait, traces);
    }
    blockers.sort_by(|a, b| a.since.cmp(&b.since));
    blockers
}

/// Adds the readiness problems of the service, which may be the cause.
fn add_problems(wait: &mut Blocker, traces: &Traces) {
    let Some(Ok(trace)) = traces.get(&wait.service) else { return };
    if !trace.problems.is_empty() {
        wait.what = format!("{}; {} is not ready: {}", wait.what, wait.service, trace.problems.join("; "));
    }
}

/// An aggregate in an open state although no message about it is under way.
fn stalled(trace: &Trace, system: &System) -> Option<Blocker> {
    let status = trace.status.as_ref()?;
    if !system.open_states.get(&trace.service)?.contains(&status.state) {
        return None;
    }
    let what = format!(
        "{} has it at {}, and no message about it is under way: if this persists, a message is lost; run choreo streams restore",
        trace.service, status.state
    );
    Some(Blocker { service: trace.service.clone(), what, since: status.since.clone() })
}

/// A message that a service has not handled.
fn unhandled(step: &Step, consumer: &Consumer, traces: &Traces) -> Option<Blocker> {
    let Step { subject, stream, sequence, .. } = step;
    let Consumer { service, failures, .. } = consumer;
    let failure = consumer.failure.as_deref().unwrap_or("?");
    let unavailable = traces.get(service).and_then(|trace| trace.as_ref().err());
    let what = match (status(consumer, unavailable)?, unavailable) {
        (DeliveryStatus::Unknown, why) => {
            let why = why.map_or("it does not reply", String::as_str);
            format!("{why}: whether it has handled {subject} ({stream} {sequence}) is unknown")
        }
        (DeliveryStatus::DeadLettered, _) => {
            format!("{service} dead-lettered {subject} ({stream} {sequence}): {failure}; redrive it")
        }
        _ if *failures > 0 => {
            format!(
                "{service} failed to handle {subject} ({stream} {sequence}) {failures} times and retries: {failure}"
            )
        }
        _ => format!("{service} has not handled {subject} ({stream} {sequence})"),
    };
    let since = match consumer.status {
        DeliveryStatus::DeadLettered => consumer.at.clone().or_else(|| Some(step.time.clone())),
        _ => Some(step.time.clone()),
    };
    Some(Blocker { service: service.clone(), what, since })
}

/// Returns the delivery status if it is a blocker.
fn status(consumer: &Consumer, unavailable: Option<&String>) -> Option<DeliveryStatus> {
    match consumer.status {
        DeliveryStatus::Handled | DeliveryStatus::Redriven | DeliveryStatus::Deleted => None,
        DeliveryStatus::Pending if unavailable.is_some() => Some(DeliveryStatus::Unknown),
        status => Some(status),
    }
}

/// A message that is pending in the outbox of its service.
fn pending_message(trace: &Trace, message: &PendingMessage) -> Blocker {
    let what = match &message.refusal {
        Some(reason) => format!(
            "{} cannot publish {}: its stream rejects it forever ({reason}); remove the cause and redrive its dead letter",
            trace.service, message.subject
        ),
        None => format!("{} has not published {} yet", trace.service, message.subject),
    };
    Blocker { service: trace.service.clone(), what, since: Some(message.since.clone()) }
}

/// The reason that a service itself reports.
fn own(trace: &Trace, status: &AggregateStatus) -> Option<Blocker> {
    let what = format!("{} waits for {}", trace.service, status.blocked_on.as_ref()?);
    Some(Blocker { service: trace.service.clone(), what, since: status.since.clone() })
}

#[cfg(test)]
mod tests;
