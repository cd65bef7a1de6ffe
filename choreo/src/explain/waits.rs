//! What a business id waits for.

use std::collections::HashSet;

use contracts::query::OrderStatus;
use contracts::topology::ORDER_SERVICE;
use messaging::trace::{Standing, Trace, Unpublished};
use uuid::Uuid;

use super::{Hearer, Hearing, Reach, Step, Traces, Wait};

/// The states of an order that is not final.
const OPEN: [&str; 3] =
    [OrderStatus::Placed.as_str(), OrderStatus::AwaitingStock.as_str(), OrderStatus::Reserved.as_str()];

/// Returns what is waited for, what has been waited for longest first.
pub(super) fn of(steps: &[Step], traces: &Traces, reach: Reach) -> Vec<Wait> {
    let mut waits = Vec::new();
    for step in steps {
        waits.extend(step.hearers.iter().filter_map(|hearer| unheard(step, hearer, traces)));
    }
    // A service marks what it has published a little later than the stream has it.
    let stored: HashSet<Uuid> = steps.iter().flat_map(|step| [step.message_id, step.stored_as]).flatten().collect();
    for trace in traces.values().flatten() {
        let unsaid_yet = trace.unpublished.iter().filter(|message| {
            !stored.contains(&message.message_id)
                && (reach == Reach::Everything || !message.subject.starts_with("dead-letter."))
        });
        waits.extend(unsaid_yet.map(|message| unsaid(trace, message)));
        waits.extend(trace.standing.as_ref().and_then(|standing| own(trace, standing)));
    }
    if waits.is_empty() {
        waits.extend(traces.values().flatten().filter_map(stalled));
    }
    for wait in &mut waits {
        add_problems(wait, traces);
    }
    waits.sort_by(|a, b| a.since.cmp(&b.since));
    waits
}

/// Names what keeps the service from its work at present, which may be the cause.
fn add_problems(wait: &mut Wait, traces: &Traces) {
    let Some(Ok(trace)) = traces.get(&wait.service) else { return };
    if !trace.problems.is_empty() {
        wait.what = format!("{}; {} is not ready: {}", wait.what, wait.service, trace.problems.join("; "));
    }
}

/// An order that is not final although no message about it is under way.
fn stalled(trace: &Trace) -> Option<Wait> {
    let standing = trace.standing.as_ref().filter(|_| trace.service == ORDER_SERVICE)?;
    if !OPEN.contains(&standing.state.as_str()) {
        return None;
    }
    let what = format!(
        "{} has it at {}, and no message about it is under way: if this stays, one is lost; see choreo refill",
        trace.service, standing.state
    );
    Some(Wait { service: trace.service.clone(), what, since: standing.since.clone() })
}

/// A message that a service has not handled.
fn unheard(step: &Step, hearer: &Hearer, traces: &Traces) -> Option<Wait> {
    let Step { subject, stream, sequence, .. } = step;
    let Hearer { service, failures, .. } = hearer;
    let failure = hearer.failure.as_deref().unwrap_or("?");
    let silence = traces.get(service).and_then(|trace| trace.as_ref().err());
    let what = match (hearing(hearer, silence)?, silence) {
        (Hearing::Unknown, why) => {
            let why = why.map_or("it does not answer", String::as_str);
            format!("{why}: whether it has handled {subject} ({stream} {sequence}) is not known")
        }
        (Hearing::GivenUp, _) => {
            format!(
                "{service} gave up {subject} ({stream} {sequence}): {failure}; it is a dead letter until redriven"
            )
        }
        _ if *failures > 0 => {
            format!(
                "{service} has tried {subject} ({stream} {sequence}) {failures} times and will again: {failure}"
            )
        }
        _ => format!("{service} has not handled {subject} ({stream} {sequence})"),
    };
    let since = match hearer.hearing {
        Hearing::GivenUp => hearer.at.clone().or_else(|| Some(step.time.clone())),
        _ => Some(step.time.clone()),
    };
    Some(Wait { service: service.clone(), what, since })
}

/// Returns how a message stands with a service, where that is something to wait for.
fn hearing(hearer: &Hearer, silence: Option<&String>) -> Option<Hearing> {
    match hearer.hearing {
        Hearing::Handled | Hearing::Redriven | Hearing::Discarded => None,
        Hearing::Pending if silence.is_some() => Some(Hearing::Unknown),
        hearing => Some(hearing),
    }
}

/// A message that a service has said and no stream has.
fn unsaid(trace: &Trace, message: &Unpublished) -> Wait {
    let what = match &message.refusal {
        Some(reason) => format!(
            "{} cannot publish {}: its stream refuses it forever ({reason}); remove the cause and redrive its dead letter",
            trace.service, message.subject
        ),
        None => format!("{} has not published {} yet", trace.service, message.subject),
    };
    Wait { service: trace.service.clone(), what, since: Some(message.since.clone()) }
}

/// What a service says that it waits for itself.
fn own(trace: &Trace, standing: &Standing) -> Option<Wait> {
    let what = format!("{} waits for {}", trace.service, standing.waits_for.as_ref()?);
    Some(Wait { service: trace.service.clone(), what, since: standing.since.clone() })
}

#[cfg(test)]
mod tests;
