//! Redrives dead letters, each to the one service that dead-lettered it.
//!
//! The rate ramps up: 1 dead letter, then 2, 4, … per second; each step waits for the reports of the previous one. It
//! stops if dead letters fail again, so that an unrepaired cause affects one dead letter and not all of them. Handled
//! dead letters are removed from the stream; the others stay.

use std::collections::BTreeMap;
use std::time::Duration;

use choreography::dead_letter::STREAM_NAME;
use choreography::redrive::{self, Outcome, Report, Request};
#[cfg(feature = "cli")]
use choreography::setting;
use futures::future::join_all;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::DeadLetter;
use crate::Operator;
use crate::operator::AskError;

/// The time limit for a service to process one step.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// The minimum duration of a step.
const STEP: Duration = Duration::from_secs(1);

/// The reason for stopping early after a signal.
const INTERRUPTED: &str = "interrupted by a signal";

/// The rate and the limits of a redrive.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct Ramp {
    /// Also redrives dead letters older than the retention of their service's inbox; it may have handled them since.
    #[cfg_attr(feature = "cli", arg(long))]
    pub force: bool,
    /// The maximum rate, in dead letters per second.
    #[cfg_attr(feature = "cli", arg(long, default_value_t = 256, value_parser = setting::count(1..=redrive::MAX_BATCH)))]
    pub rate: usize,
    /// The number of dead letters that may fail again before the redrive stops.
    #[cfg_attr(feature = "cli", arg(long, default_value_t = 0, value_parser = setting::count(0..=super::MAX_SELECTION)))]
    pub max_failures: usize,
}

impl Default for Ramp {
    fn default() -> Self {
        Self { force: false, rate: redrive::MAX_BATCH, max_failures: 0 }
    }
}

/// The outcome of redriving one dead letter.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Redriven {
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    /// The service that dead-lettered it.
    pub service: String,
    /// The business id of the message.
    pub key: String,
    /// The outcome that the service reported.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Whether it is removed from the stream of dead letters. A handled dead letter that could not be removed is
    /// removed by the next redrive.
    pub removed: bool,
}

/// The number of dead letters per outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Handled by this redrive.
    pub handled: usize,
    /// Handled before this redrive.
    pub already_handled: usize,
    /// Failed again.
    pub failed: usize,
    /// Refused by the service.
    pub refused: usize,
    /// No longer in the stream.
    pub gone: usize,
    /// Without a known outcome.
    pub unknown: usize,
    /// Not redriven, because the redrive stopped early.
    pub not_tried: usize,
    /// The reason for stopping early.
    pub stopped: Option<String>,
}

impl Summary {
    /// Counts an outcome; returns whether it is a failure.
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

    /// Returns whether every dead letter is handled, by this redrive or before.
    #[must_use]
    pub fn all_handled(&self) -> bool {
        self.failed + self.refused + self.unknown + self.not_tried == 0
    }
}

/// Redrives dead letters in order, and calls `report` with each outcome as soon as it is known. Once `stop` is
/// cancelled no further dead letter is redriven, and the outcome of those in progress is unknown.
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
        let (step, later) = rest.split_at(size.min(rest.len()));
        rest = later;
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
            let too_many = || format!("{failures} failed again, more than the limit of {}", ramp.max_failures);
            summary.stopped = Some(if paused.is_none() { INTERRUPTED.to_owned() } else { too_many() });
            summary.not_tried = rest.len();
            break;
        }
        size = (size * 2).min(ramp.rate);
    }
    summary
}

/// Returns the unknown outcome of a dead letter whose redrive was interrupted.
fn interrupted(dead_letter: &DeadLetter) -> Redriven {
    let (service, key) = (dead_letter.service.clone(), dead_letter.key.clone());
    let outcome = Outcome::Unknown { reason: INTERRUPTED.to_owned() };
    Redriven { sequence: dead_letter.sequence, service, key, outcome, removed: false }
}

/// Sends one step's dead letters to their services, all services at once.
async fn redrive_step(operator: &Operator, step: &[DeadLetter], force: bool) -> Vec<Redriven> {
    let mut by_service: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for dead_letter in step {
        by_service.entry(&dead_letter.service).or_default().push(dead_letter.sequence);
    }
    let asking = by_service.into_iter().map(|(service, sequences)| ask(operator, service, sequences, force));
    let mut outcomes: BTreeMap<u64, Outcome> = join_all(asking).await.into_iter().flatten().collect();
    let removing = step.iter().map(|dead_letter| {
        let unreported =
            || Outcome::Unknown { reason: format!("{} did not report its outcome", dead_letter.service) };
        let outcome = outcomes.remove(&dead_letter.sequence).unwrap_or_else(unreported);
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
    // At most as many as one step has.
    join_all(removing.collect::<Vec<_>>()).await
}

async fn ask(operator: &Operator, service: &str, sequences: Vec<u64>, force: bool) -> Vec<(u64, Outcome)> {
    let all = |outcome: Outcome| sequences.iter().map(|sequence| (*sequence, outcome.clone())).collect();
    if !super::is_token(service) {
        return all(Outcome::Refused { reason: format!("{service:?} is not a valid service name") });
    }
    let request = Request { sequences: sequences.clone(), force };
    match operator.ask::<Vec<Report>>(service, redrive::subject(service), &request, REPLY_TIMEOUT).await {
        Ok(reports) => reports.into_iter().map(|report| (report.sequence, report.outcome)).collect(),
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
            tracing::warn!(sequence, %error, "cannot remove a dead letter that is handled; redrive it again");
            false
        }
    }
}
