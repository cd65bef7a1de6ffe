//! Redrive: a dead letter handled after all, by the one service that dead-lettered it.
//!
//! Each service answers `admin.<service>.redrive`: it reads the dead letters that are named out of their stream itself,
//! so that nobody can slip it another message, and handles them as it handles a batch of deliveries. In the same
//! transaction it takes back that it had given them up ([`delivery_issue`]), so that a dead letter is handled once, however often
//! it is redriven, and is still a dead letter if the process dies in the middle. What fails stays a dead letter.
//!
//! The answer comes after the commit. Where it does not come, nobody knows what became of the dead letters; asking again
//! finds out.

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

/// The most dead letters in one request: as many as the library handles in a batch.
pub const MAX_BATCH: usize = BATCH;
/// How long the handling of one request may take; what is under way then goes on, and nobody learns of it.
const REDRIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// Letters that are read at the same time.
const READING: usize = 32;

/// Returns the subject on which a service takes dead letters back.
#[must_use]
pub fn subject(service: &str) -> String {
    format!("admin.{service}.redrive")
}

/// Which dead letters to handle after all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Their sequences in the stream of dead letters, [`MAX_BATCH`] at most; handled in this order.
    pub sequences: Vec<u64>,
    /// Also those which the service does not remember having dead-lettered: it may have handled them since.
    #[serde(default)]
    pub force: bool,
}

/// What became of one dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It is handled: committed, with all that follows from it.
    Handled,
    /// It was handled before, by an earlier redrive or as another message with its id. Nothing changed.
    AlreadyHandled,
    /// It failed again. Nothing changed.
    Failed {
        /// What the service says about it.
        reason: String,
    },
    /// The service will not try it. Nothing changed.
    Refused {
        /// Why not.
        reason: String,
    },
    /// There is no such dead letter of this service (any more).
    Gone,
    /// Nobody knows: it may be handled or not. Redriving it again is safe, and tells.
    Unknown {
        /// What is known.
        reason: String,
    },
}

/// Letters on their way to the processor.
pub(crate) struct Job {
    dead_letters: Vec<(u64, DeadLetter)>,
    force: bool,
    answer: oneshot::Sender<Vec<Report>>,
}

/// A dead letter, and what it says to the handler.
struct Item<M> {
    sequence: u64,
    /// The id under which it was dead-lettered.
    mark: Uuid,
    dead_letter: DeadLetter,
    envelope: Envelope<M>,
}

/// Makes the endpoint that takes dead letters back, and the processor's end of it.
pub(crate) fn endpoint(js: jetstream::Context, service: &'static str) -> (Endpoint, mpsc::Receiver<Job>) {
    let (jobs, receiver) = mpsc::channel(1);
    let endpoint = Endpoint::new("redrive", subject(service), move |query| {
        let (js, jobs) = (js.clone(), jobs.clone());
        async move { answer(&js, service, &jobs, query).await }
    });
    (endpoint.within(REDRIVE_TIMEOUT), receiver)
}

async fn answer(
    js: &jetstream::Context,
    service: &str,
    jobs: &mpsc::Sender<Job>,
    query: Query,
) -> Result<Vec<Report>, QueryError> {
    let request: Request =
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?;
    let asked = request.sequences.len();
    if asked == 0 || asked > MAX_BATCH || request.sequences.iter().collect::<HashSet<_>>().len() < asked {
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
        let (sender, answered) = oneshot::channel();
        let job = Job { dead_letters, force: request.force, answer: sender };
        jobs.send(job).await.map_err(|_| stopping())?;
        reports.extend(answered.await.map_err(|_| stopping())?);
    }
    reports.sort_unstable_by_key(|report| request.sequences.iter().position(|asked| *asked == report.sequence));
    Ok(reports)
}

impl<H: Handler> Processor<H> {
    /// Handles dead letters after all and says what became of each.
    pub(crate) async fn redrive(&self, job: Job) {
        let mut reports = Vec::with_capacity(job.dead_letters.len());
        let mut items = Vec::with_capacity(job.dead_letters.len());
        let mut failed = None;
        for (sequence, dead_letter) in job.dead_letters {
            if let Some(row) = dead_letter.outbox_row() {
                // A database that failed one is not waited for once more by each of the rest.
                let outcome = match failed.clone() {
                    Some(failed) => failed,
                    None => self.publish_again(row).await,
                };
                failed = Some(outcome.clone()).filter(|outcome| matches!(outcome, Outcome::Unknown { .. }));
                reports.push(Report { sequence, outcome });
                continue;
            }
            if dead_letter.is_dedup_window_expired() && !job.force {
                reports.push(Report { sequence, outcome: Outcome::Refused { reason: forgotten(false) } });
                continue;
            }
            match dead_letter.decode(self.producer) {
                Ok(envelope) => items.push(Item { sequence, mark: dead_letter.inbox_id(), dead_letter, envelope }),
                Err(malformed) => {
                    let outcome = Outcome::Failed { reason: malformed.to_string() };
                    reports.push(Report { sequence, outcome });
                }
            }
        }
        if !items.is_empty() {
            reports.extend(self.redrive_items(&items, job.force).await);
        }
        if job.answer.send(reports).is_err() {
            tracing::warn!("dead letters were redriven for somebody who does not wait for the answer any more");
        }
    }

    /// Lets a message be published again that its stream refused.
    async fn publish_again(&self, row: Uuid) -> Outcome {
        match answered(self.relay.publish_again(&self.db, row)).await {
            Ok(true) => Outcome::Handled,
            Ok(false) => Outcome::AlreadyHandled,
            Err(error) => Outcome::Unknown { reason: format!("the database failed: {error}") },
        }
    }

    /// Handles dead letters whole; if they fail by the fault of one, in halves, until that one is alone.
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

    /// Says of dead letters whose transaction did not commit what became of them, and remembers failures.
    async fn failed(&self, items: &[Item<H::Message>], failure: &Failure) -> Vec<Report> {
        let outcome = match failure {
            Failure::Message(_) | Failure::Timeout(_) => {
                let reason = failure.to_string();
                let failures = items.iter().map(|item| item.dead_letter.failure(&reason)).collect();
                if let Err(error) = answered(delivery_issue::record(&self.db, failures)).await {
                    tracing::debug!(%error, "a failure could not be remembered");
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

    /// One transaction: what was dead-lettered is taken back, the messages are marked and handled, or nothing of it.
    async fn redrive_together(&self, items: &[Item<H::Message>], force: bool) -> Result<Vec<Report>, Failure> {
        let now = clock::now();
        let outcomes: Vec<Uuid> = items.iter().map(|item| item.mark).collect();
        let beginning = async {
            let tx = self.db.begin().await?;
            let taken = delivery_issue::mark_redriven(&tx, outcomes.clone(), unix_millis(now)).await?;
            let known = delivery_issue::redriven(&tx, &outcomes).await?;
            Ok::<_, DbErr>((tx, taken, known))
        };
        let (tx, mut taken, mut known) = answered(beginning).await?;
        let dead_lettered = taken.clone();
        // What this transaction took back is known as redriven now, but for it that is still to be done.
        known.retain(|id| !taken.contains(id));
        let marked: Vec<Received> = items
            .iter()
            .filter(|item| taken.contains(&item.mark) || (force && !known.contains(&item.mark)))
            .map(|item| Received { id: item.envelope.id, at: unix_millis(now) })
            .collect();
        let mut first = answered(inbox::first_deliveries(&tx, &marked)).await?;

        let (mut batch, mut forced, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        for item in items {
            // A message that was dead-lettered under its own id has its mark in the inbox since then.
            let first = first.remove(&item.envelope.id);
            let outcome = match (taken.remove(&item.mark), dead_lettered.contains(&item.mark)) {
                (true, _) if first || item.mark == item.envelope.id => Outcome::Handled,
                (true, _) | (_, true) => Outcome::AlreadyHandled,
                _ if known.contains(&item.mark) => Outcome::AlreadyHandled,
                _ if first => {
                    forced.push(item.dead_letter.forced(item.mark, now));
                    Outcome::Handled
                }
                _ => Outcome::Refused { reason: forgotten(force) },
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

fn forgotten(forced: bool) -> String {
    let known = "the service does not remember having given it up: that was longer ago than its inbox remembers";
    if forced {
        format!("{known}, and yet its inbox knows the message, so that it is handled")
    } else {
        format!("{known}, so that it may have been handled since; force it if you know that it was not")
    }
}
