//! Redrive: handling a dead letter again, by the service that dead-lettered it.
//!
//! Each service serves `admin.<service>.redrive`: it reads the requested dead letters from their stream itself, so that
//! no caller can pass in another message, and handles them like a batch of deliveries. The same transaction marks them
//! as redriven ([`delivery_issue`]). So a dead letter is handled once, however often it is redriven, and remains a dead
//! letter if the process dies halfway. A message that fails again remains a dead letter, too.
//!
//! The reply follows the commit. If it does not arrive, the outcome is unknown; a repeated request reports it.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream;
use futures::StreamExt;
use sea_orm::{DbErr, TransactionTrait};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::database::answered;
use crate::dead_letter::{DeadLetter, STREAM_NAME};
use crate::direct;
use crate::envelope::{Envelope, unix_millis};
use crate::handler::Handler;
use crate::inbox::{self, Received};
use crate::processor::{BATCH, Processor, push_halves};
use crate::query::{Endpoint, Query, QueryError};
use crate::retry::{Failure, MAX_CONTENTIONS};
use crate::{clock, delivery_issue, fault};

/// The maximum number of dead letters per request: as many as the library handles in a batch.
pub const MAX_BATCH: usize = BATCH;
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
    dead_letters: Vec<(u64, DeadLetter)>,
    force: bool,
    reply: oneshot::Sender<Vec<Report>>,
}

/// A dead letter and its decoded message.
struct Item<M> {
    sequence: u64,
    /// The id under which it was dead-lettered.
    dead_letter_id: Uuid,
    dead_letter: DeadLetter,
    envelope: Envelope<M>,
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

impl<H: Handler> Processor<H> {
    /// Redrives dead letters and reports the outcome of each.
    pub(crate) async fn redrive(&self, job: Job) {
        let mut reports = Vec::with_capacity(job.dead_letters.len());
        let mut items = Vec::with_capacity(job.dead_letters.len());
        let mut failed = None;
        for (sequence, dead_letter) in job.dead_letters {
            if let Some(row) = dead_letter.outbox_row() {
                // After a database failure the remaining ones are not tried.
                let outcome = match failed.clone() {
                    Some(failed) => failed,
                    None => self.publish_again(row).await,
                };
                failed = Some(outcome.clone()).filter(|outcome| matches!(outcome, Outcome::Unknown { .. }));
                reports.push(Report { sequence, outcome });
                continue;
            }
            if dead_letter.is_dedup_window_expired() && !job.force {
                reports.push(Report { sequence, outcome: Outcome::Refused { reason: not_remembered(false) } });
                continue;
            }
            match dead_letter.decode(self.producer) {
                Ok(envelope) => {
                    items.push(Item { sequence, dead_letter_id: dead_letter.inbox_id(), dead_letter, envelope })
                }
                Err(malformed) => {
                    let outcome = Outcome::Failed { reason: malformed.to_string() };
                    reports.push(Report { sequence, outcome });
                }
            }
        }
        if !items.is_empty() {
            reports.extend(self.redrive_items(&items, job.force).await);
        }
        if job.reply.send(reports).is_err() {
            tracing::warn!("dead letters were redriven, but the caller no longer waits for the report");
        }
    }

    /// Makes a message that its stream refused pending again.
    async fn publish_again(&self, row: Uuid) -> Outcome {
        match answered(self.relay.publish_again(&self.db, row)).await {
            Ok(true) => Outcome::Handled,
            Ok(false) => Outcome::AlreadyHandled,
            Err(error) => Outcome::Unknown { reason: format!("the database failed: {error}") },
        }
    }

    /// Redrives a whole batch of dead letters; if it fails by the fault of one, in halves, until that one is alone.
    async fn redrive_items(&self, items: &[Item<H::Message>], force: bool) -> Vec<Report> {
        let (mut reports, mut contentions) = (Vec::with_capacity(items.len()), 0);
        let mut parts = vec![items];
        while let Some(part) = parts.pop() {
            match self.redrive_together(part, force).await {
                Ok(done) => reports.extend(done),
                Err(Failure::Message(_) | Failure::Timeout(_)) if part.len() > 1 => push_halves(&mut parts, part),
                Err(Failure::Contention(_)) if contentions < MAX_CONTENTIONS => {
                    contentions += 1;
                    parts.push(part);
                }
                Err(failure) => reports.extend(self.failed(part, &failure).await),
            }
        }
        reports
    }

    /// Reports dead letters whose transaction did not commit, and records failures.
    async fn failed(&self, items: &[Item<H::Message>], failure: &Failure) -> Vec<Report> {
        let outcome = match failure {
            Failure::Message(_) | Failure::Timeout(_) => {
                let reason = failure.to_string();
                let failures = items.iter().map(|item| item.dead_letter.failure(&reason)).collect();
                if let Err(error) = answered(delivery_issue::record(&self.db, failures)).await {
                    tracing::debug!(%error, "a failure could not be recorded");
                }
                Outcome::Failed { reason }
            }
            Failure::Contention(error) | Failure::Outage(error) => {
                tracing::warn!(error = fault::text(error), "the database failed a redrive");
                Outcome::Unknown { reason: "the service's database does not answer".to_owned() }
            }
        };
        items.iter().map(|item| Report { sequence: item.sequence, outcome: outcome.clone() }).collect()
    }

    /// Runs one transaction: marks dead letters as redriven, and handles their messages.
    async fn redrive_together(&self, items: &[Item<H::Message>], force: bool) -> Result<Vec<Report>, Failure> {
        let now = clock::now();
        let ids: Vec<Uuid> = items.iter().map(|item| item.dead_letter_id).collect();
        let beginning = async {
            let tx = self.db.begin().await?;
            let taken = delivery_issue::mark_redriven(&tx, ids.clone(), unix_millis(now)).await?;
            let known = delivery_issue::redriven(&tx, &ids).await?;
            Ok::<_, DbErr>((tx, taken, known))
        };
        let (tx, mut taken, mut known) = answered(beginning).await?;
        let dead_lettered = taken.clone();
        // Dead letters that this transaction marked also read as redriven, but are still to be handled.
        known.retain(|id| !taken.contains(id));
        let marked: Vec<Received> = items
            .iter()
            .filter(|item| taken.contains(&item.dead_letter_id) || (force && !known.contains(&item.dead_letter_id)))
            .map(|item| Received { id: item.envelope.id, at: unix_millis(now) })
            .collect();
        let mut first = answered(inbox::first_deliveries(&tx, &marked)).await?;

        let (mut batch, mut forced, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        for item in items {
            // A message that was dead-lettered under its own id has had an inbox row since then.
            let first = first.remove(&item.envelope.id);
            let outcome = match (taken.remove(&item.dead_letter_id), dead_lettered.contains(&item.dead_letter_id)) {
                (true, _) if first || item.dead_letter_id == item.envelope.id => Outcome::Handled,
                (true, _) | (_, true) => Outcome::AlreadyHandled,
                _ if known.contains(&item.dead_letter_id) => Outcome::AlreadyHandled,
                _ if first => {
                    forced.push(item.dead_letter.forced(item.dead_letter_id, now));
                    Outcome::Handled
                }
                _ => Outcome::Refused { reason: not_remembered(force) },
            };
            if outcome == Outcome::Handled {
                batch.push(&item.envelope);
            }
            reports.push(Report { sequence: item.sequence, outcome });
        }
        let mut rows = Vec::new();
        if !batch.is_empty() {
            let outgoing = match self.handle(&tx, &batch).await {
                Ok(outgoing) => outgoing,
                Err(failure) => return Err(failure.roll_back(tx).await),
            };
            rows.extend(self.relay.rows(outgoing, &self.source, now)?);
        }
        let writing = async {
            delivery_issue::record(&tx, forced).await?;
            self.relay.insert(&tx, &mut rows).await?;
            tx.commit().await
        };
        answered(writing).await?;
        tracing::info!(dead_letters = items.len(), handled = batch.len(), "dead letters were redriven");
        self.relay.offer(rows);
        self.handler.committed();
        Ok(reports)
    }
}

fn not_remembered(forced: bool) -> String {
    let known = "the service does not remember dead-lettering it: that was longer ago than its inbox remembers";
    if forced {
        format!("{known}, but its inbox contains the message, so it was handled")
    } else {
        format!("{known}, so it may have been handled since; use force if you know that it was not")
    }
}
