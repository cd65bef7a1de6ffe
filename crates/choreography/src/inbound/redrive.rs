//! Redrive: handling a dead letter again, by the service that dead-lettered it.
//!
//! Each service serves `admin.<service>.redrive`: it reads the requested dead letters from their stream itself, so that
//! no caller can pass in another message, and handles them like a batch of deliveries. The same transaction marks them
//! as redriven ([`delivery_issue`](crate::state::delivery_issue)). So a dead letter is handled once, however often it is redriven, and remains a dead
//! letter if the process dies halfway. A message that fails again remains a dead letter, too.
//!
//! The reply follows the commit. If it does not arrive, the outcome is unknown; a repeated request reports it.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::broker::direct;
use crate::inbound::query::{Endpoint, Query, QueryError};
use crate::outbound::dead_letter::{DeadLetter, STREAM_NAME};

/// The maximum number of dead letters per request.
pub const MAX_BATCH: usize = 256;
/// The time limit of one request; work in progress then continues, but its outcome is not reported.
const REDRIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of dead letters that are read concurrently.
const READING: usize = 32;

/// Returns the subject on which a service accepts redrives.
#[must_use]
pub fn subject(service: &str) -> String {
    format!("admin.{service}.redrive")
}

/// The dead letters to redrive.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Their sequences in the stream of dead letters, at most [`MAX_BATCH`]; handled in this order.
    pub sequences: Vec<u64>,
    /// Whether to redrive dead letters that the service does not remember: it may have handled them since.
    #[serde(default)]
    pub force: bool,
}

/// The outcome of one dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    /// The outcome of the redrive.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The outcome of a redrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It was handled and committed.
    Handled,
    /// It was handled before, by an earlier redrive or as another message with its id. Nothing changed.
    AlreadyHandled,
    /// It failed again. Nothing changed.
    Failed {
        /// The error's text.
        reason: String,
    },
    /// The service refuses to redrive it. Nothing changed.
    Refused {
        /// Why the service refuses.
        reason: String,
    },
    /// The service has no such dead letter (any more).
    Gone,
    /// The outcome is unknown: it may or may not be handled. Redriving it again is safe, and reports the outcome.
    Unknown {
        /// The cause, such as a database that does not respond.
        reason: String,
    },
}

/// Dead letters for the processor.
pub(crate) struct Job {
    pub(crate) dead_letters: Vec<(u64, DeadLetter)>,
    pub(crate) force: bool,
    pub(crate) reply: oneshot::Sender<Vec<Report>>,
}

/// Creates the redrive endpoint, and the processor's end of its channel.
pub(crate) fn endpoint(js: jetstream::Context, service: &'static str) -> (Endpoint, mpsc::Receiver<Job>) {
    let (jobs, receiver) = mpsc::channel(1);
    let endpoint = Endpoint::new("redrive", subject(service), move |query| {
        let (js, jobs) = (js.clone(), jobs.clone());
        async move { reply(&js, service, &jobs, query).await }
    });
    (endpoint.within(REDRIVE_TIMEOUT), receiver)
}

async fn reply(
    js: &jetstream::Context,
    service: &str,
    jobs: &mpsc::Sender<Job>,
    query: Query,
) -> Result<Vec<Report>, QueryError> {
    let request: Request =
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?;
    let requested = request.sequences.len();
    if requested == 0 || requested > MAX_BATCH || request.sequences.iter().collect::<HashSet<_>>().len() < requested
    {
        return Err(QueryError::Invalid(format!("sequences must be 1 to {MAX_BATCH} different numbers")));
    }
    let reading = request.sequences.clone().into_iter().map(|sequence| async move {
        let stored = direct::get(js, STREAM_NAME, sequence).await?;
        anyhow::Ok((sequence, stored.and_then(|stored| DeadLetter::read(stored, service))))
    });
    let mut reading = futures::stream::iter(reading).buffered(READING);
    let (mut reports, mut dead_letters) = (Vec::new(), Vec::new());
    while let Some(read) = reading.next().await {
        match read.map_err(QueryError::Unavailable)? {
            (sequence, Some(dead_letter)) => dead_letters.push((sequence, dead_letter)),
            (sequence, None) => reports.push(Report { sequence, outcome: Outcome::Gone }),
        }
    }
    drop(reading);
    if !dead_letters.is_empty() {
        let stopping = || QueryError::Unavailable(anyhow::anyhow!("the service is shutting down"));
        let (sender, replied) = oneshot::channel();
        let job = Job { dead_letters, force: request.force, reply: sender };
        jobs.send(job).await.map_err(|_| stopping())?;
        reports.extend(replied.await.map_err(|_| stopping())?);
    }
    reports.sort_unstable_by_key(|report| {
        request.sequences.iter().position(|requested| *requested == report.sequence)
    });
    Ok(reports)
}
