//! What became of each message with each service that listens to it.

use std::collections::{HashMap, HashSet};

use messaging::Topology;
use messaging::topology::{ConsumerSpec, subject_matches};
use messaging::trace::{Mishap, Trace};
use serde::Serialize;
use uuid::Uuid;

use super::{Step, Traces};

/// What became of a message with one service. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hearer {
    /// Which service.
    pub service: String,
    /// What became of it there.
    pub hearing: Hearing,
    /// When it was handled, or given up.
    pub at: Option<String>,
    /// How often it failed.
    pub failures: i64,
    /// What the service said when it failed last.
    pub failure: Option<String>,
    /// How often it came again and was dropped.
    pub duplicates: i64,
}

impl Hearer {
    /// Makes the status of a message that a service has not handled yet, as far as is known.
    pub(super) fn pending(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            hearing: Hearing::Pending,
            at: None,
            failures: 0,
            failure: None,
            duplicates: 0,
        }
    }
}

/// What became of a message with one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hearing {
    /// It is handled.
    Handled,
    /// It is not handled yet.
    Pending,
    /// It is a dead letter.
    GivenUp,
    /// It was a dead letter, and was handled after all.
    Redriven,
    /// It was a dead letter, and was removed by an operator.
    Discarded,
    /// The service does not answer, and no stream tells.
    Unknown,
}

/// Returns whether a consumer gets a message.
pub(super) fn hears(consumer: &ConsumerSpec, step: &Step) -> bool {
    consumer.stream == step.stream
        && consumer.filter_subjects.iter().any(|filter| subject_matches(filter, &step.subject))
}

/// What is known beside what a service tells.
struct Evidence {
    /// Who has answered which message.
    answered: HashSet<(String, Uuid)>,
    /// Which messages are dead letters, by service, stream, and sequence; `true` where they were discarded.
    given_up: HashMap<(String, String, u64), bool>,
}

impl Evidence {
    fn of(steps: &[Step]) -> Self {
        let answered = steps.iter().filter(|step| step.given_up.is_none()).filter_map(|step| {
            let service = step.source.as_deref()?.strip_prefix('/')?.to_owned();
            Some((service, step.causation_id?))
        });
        let given_up = steps.iter().filter_map(|step| {
            let given_up = step.given_up.clone()?;
            Some(((given_up.service, given_up.stream, given_up.sequence), given_up.discarded))
        });
        Self { answered: answered.collect(), given_up: given_up.collect() }
    }
}

/// Says of each step what became of it.
pub(super) fn attach(steps: &mut [Step], topology: &Topology, traces: &Traces) {
    let evidence = Evidence::of(steps);
    for step in steps {
        let consumers = topology.consumers.iter().filter(|consumer| hears(consumer, step));
        let hearers = consumers.map(|consumer| {
            let trace = traces.get(&consumer.name).and_then(|trace| trace.as_ref().ok());
            hearer(&consumer.name, step, trace, &evidence)
        });
        step.hearers = hearers.collect();
    }
}

fn hearer(service: &str, step: &Step, trace: Option<&Trace>, evidence: &Evidence) -> Hearer {
    let place = (service.to_owned(), step.stream.clone(), step.sequence);
    let letter = evidence.given_up.get(&place).copied();
    let mut hearer = Hearer::pending(service);
    let Some(trace) = trace else {
        let answered = step.message_id.is_some_and(|id| evidence.answered.contains(&(service.to_owned(), id)));
        hearer.hearing = match letter {
            Some(discarded) => gone(discarded),
            None if answered => Hearing::Handled,
            None => Hearing::Unknown,
        };
        return hearer;
    };
    let handled = trace.handled.iter().find(|handled| Some(handled.message_id) == step.message_id);
    if let Some(handled) = handled {
        (hearer.hearing, hearer.at) = (Hearing::Handled, Some(handled.at.clone()));
    }
    if let Some(mishap) = trace.mishaps.iter().find(|mishap| is_about(mishap, step)) {
        (hearer.failures, hearer.duplicates) = (mishap.failures, mishap.duplicates);
        hearer.failure = mishap.detail.clone();
        if let Some(redriven) = &mishap.redriven_at {
            (hearer.hearing, hearer.at) = (Hearing::Redriven, Some(redriven.clone()));
        } else if let Some(given_up) = &mishap.given_up_at {
            (hearer.hearing, hearer.at) = (gone(letter.unwrap_or(false)), Some(given_up.clone()));
        }
    }
    hearer
}

fn gone(discarded: bool) -> Hearing {
    if discarded { Hearing::Discarded } else { Hearing::GivenUp }
}

/// A message that cannot be read or believed is known by its place and not by its id.
fn is_about(mishap: &Mishap, step: &Step) -> bool {
    let same_place =
        mishap.stream == step.stream && u64::try_from(mishap.sequence).is_ok_and(|place| place == step.sequence);
    Some(mishap.message_id) == step.message_id || same_place
}
