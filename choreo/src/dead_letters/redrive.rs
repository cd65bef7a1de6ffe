//! Sending dead letters back, each to the one service that dead-lettered it.
//!
//! It ramps up: 1 dead letter, then 2, 4, … a second, each step when the answers to the one before are there. Where dead letters
//! fail again it stops by itself, so that a cause that is not repaired costs one dead letter and not all of them. What has
//! been handled is removed from the stream of dead letters; what has not stays.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use messaging::dead_letter::STREAM_NAME;
use messaging::redrive::{self, Outcome, Report, Request};
use messaging::setting;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::DeadLetter;
use crate::Operator;
use crate::operator::AskError;

/// How long a service may take for one step.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a step takes at least.
const STEP: Duration = Duration::from_secs(1);

/// The reason of an end before the last dead letter.
const INTERRUPTED: &str = "interrupted by a signal";

/// How to redrive.
#[derive(Debug, Clone, clap::Args)]
pub struct Ramp {
    /// Also dead letters older than their service remembers, which it may have handled since.
    #[arg(long)]
    pub force: bool,
    /// The most dead letters a second, where the ramp ends.
    #[arg(long, default_value_t = 256, value_parser = setting::count(1..=redrive::MAX_BATCH))]
    pub rate: usize,
    /// How many dead letters may fail again before it stops by itself.
    #[arg(long, default_value_t = 0, value_parser = setting::count(0..=super::MAX_SELECTION))]
    pub max_failures: usize,
}

impl Default for Ramp {
    fn default() -> Self {
        Self { force: false, rate: redrive::MAX_BATCH, max_failures: 0 }
    }
}

/// What became of one dead letter.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redriven {
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    /// The service that was asked.
    pub service: String,
    /// The business id it is about.
    pub key: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Whether the stream of dead letters has it no more. A dead letter that was handled and could not be removed is
    /// removed when it is redriven again.
    pub removed: bool,
}

/// What became of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Handled now.
    pub handled: usize,
    /// Handled before.
    pub already_handled: usize,
    /// Failed again.
    pub failed: usize,
    /// Refused by their service.
    pub refused: usize,
    /// Not there any more.
    pub gone: usize,
    /// Nobody knows.
    pub unknown: usize,
    /// Not tried, because it stopped before.
    pub not_tried: usize,
    /// Why it stopped before the end.
    pub stopped: Option<String>,
}

impl Summary {
    /// Counts the dead letter; returns whether it failed.
    fn count(&mut self, outcome: &Outcome) -> bool {
        let counter = match outcome {
            Outcome::Handled => &mut self.handled,
            Outcome::AlreadyHandled => &mut self.already_handled,
            Outcome::Failed { .. } => &mut self.failed,
            Outcome::Refused { .. } => &mut self.refused,
            Outcome::Gone => &mut self.gone,
            Outcome::Unknown { .. } => &mut self.unknown,
        };
        *counter += 1;
        matches!(outcome, Outcome::Failed { .. } | Outcome::Unknown { .. })
    }

    /// Returns whether every dead letter is handled, now or before.
    #[must_use]
    pub fn all_handled(&self) -> bool {
        self.failed + self.refused + self.unknown + self.not_tried == 0
    }
}

/// Redrives dead letters in their order; `report` hears what became of each as soon as it is known. Once `stop` is cancelled no
/// further dead letter is redriven, and the outcome of those under way is unknown.
pub async fn redrive(
    operator: &Operator,
    dead_letters: &[DeadLetter],
    ramp: &Ramp,
    stop: &CancellationToken,
    mut report: impl FnMut(&Redriven),
) -> Summary {
    let mut summary = Summary::default();
    let (mut rest, mut size, mut failures) = (dead_letters, 1, 0);
    while !rest.is_empty() {
        let begun = Instant::now();
        let (step, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        let ended = stop.run_until_cancelled(redrive_step(operator, step, ramp.force)).await;
        for redriven in ended.unwrap_or_else(|| step.iter().map(interrupted).collect()) {
            failures += usize::from(summary.count(&redriven.outcome));
            report(&redriven);
        }
        if rest.is_empty() {
            break;
        }
        let paused = stop.run_until_cancelled(tokio::time::sleep_until(begun + STEP)).await;
        if paused.is_none() || failures > ramp.max_failures {
            let too_many = || format!("{failures} failed again, and {} may", ramp.max_failures);
            summary.stopped = Some(if paused.is_none() { INTERRUPTED.to_owned() } else { too_many() });
            summary.not_tried = rest.len();
            break;
        }
        size = (size * 2).min(ramp.rate);
    }
    summary
}

/// Returns what is known of a dead letter whose redrive was interrupted.
fn interrupted(dead_letter: &DeadLetter) -> Redriven {
    let (service, key) = (dead_letter.service.clone(), dead_letter.key.clone());
    let outcome = Outcome::Unknown { reason: INTERRUPTED.to_owned() };
    Redriven { sequence: dead_letter.sequence, service, key, outcome, removed: false }
}

/// Asks each service for its letters of one step, all services at once.
async fn redrive_step(operator: &Operator, step: &[DeadLetter], force: bool) -> Vec<Redriven> {
    let mut by_service: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for dead_letter in step {
        by_service.entry(&dead_letter.service).or_default().push(dead_letter.sequence);
    }
    let asking = by_service.into_iter().map(|(service, sequences)| ask(operator, service, sequences, force));
    let mut outcomes: BTreeMap<u64, Outcome> = join_all(asking).await.into_iter().flatten().collect();
    let removing = step.iter().map(|dead_letter| {
        let silent = || Outcome::Unknown { reason: format!("{} did not speak of it", dead_letter.service) };
        let outcome = outcomes.remove(&dead_letter.sequence).unwrap_or_else(silent);
        async move {
            let removed = match outcome {
                Outcome::Handled | Outcome::AlreadyHandled => remove(operator, dead_letter.sequence).await,
                Outcome::Gone => true,
                _ => false,
            };
            let (service, key) = (dead_letter.service.clone(), dead_letter.key.clone());
            Redriven { sequence: dead_letter.sequence, service, key, outcome, removed }
        }
    });
    // As many as a step has, which is bounded.
    join_all(removing.collect::<Vec<_>>()).await
}

async fn ask(operator: &Operator, service: &str, sequences: Vec<u64>, force: bool) -> Vec<(u64, Outcome)> {
    let all = |outcome: Outcome| sequences.iter().map(|sequence| (*sequence, outcome.clone())).collect();
    let request = Request { sequences: sequences.clone(), force };
    let body = match serde_json::to_vec(&request) {
        Ok(body) => body,
        Err(error) => return all(Outcome::Refused { reason: error.to_string() }),
    };
    if !super::is_token(service) {
        return all(Outcome::Refused { reason: format!("{service:?} is no service") });
    }
    match operator.ask(service, redrive::subject(service), body.into(), REPLY_TIMEOUT).await {
        Ok(answer) => match serde_json::from_slice::<Vec<Report>>(&answer) {
            Ok(reports) => reports.into_iter().map(|report| (report.sequence, report.outcome)).collect(),
            Err(error) => {
                all(Outcome::Unknown { reason: format!("the answer of {service} cannot be read: {error}") })
            }
        },
        Err(error @ AskError::Silent(_)) => all(Outcome::Unknown { reason: error.to_string() }),
        Err(error) => all(Outcome::Failed { reason: error.to_string() }),
    }
}

/// Removes a dead letter; returns whether it is gone.
pub(super) async fn remove(operator: &Operator, sequence: u64) -> bool {
    let removing = async {
        let stream = operator.js().get_stream_no_info(STREAM_NAME).await?;
        anyhow::Ok(stream.delete_message(sequence).await?)
    };
    match removing.await {
        Ok(removed) => removed,
        Err(error) => {
            tracing::warn!(sequence, %error, "a dead letter could not be removed");
            false
        }
    }
}
