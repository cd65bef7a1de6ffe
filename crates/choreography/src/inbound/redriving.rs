//! The processor's side of a redrive: dead letters handled in one transaction.

use sea_orm::{DbErr, TransactionTrait};
use uuid::Uuid;

use crate::broker::clock;
use crate::inbound::failure::{Failure, MAX_CONTENTIONS};
use crate::inbound::handler::Handler;
use crate::inbound::inbox::{self, Received};
use crate::inbound::item::push_halves;
use crate::inbound::processor::Processor;
use crate::inbound::redrive::{Job, Outcome, Report};
use crate::outbound::dead_letter::DeadLetter;
use crate::state::database::answered;
use crate::state::delivery_issue;
use crate::state::fault;
use crate::wire::envelope::{Envelope, unix_millis};

/// A dead letter and its decoded message.
struct Item<M> {
    sequence: u64,
    /// The id under which it was dead-lettered.
    dead_letter_id: Uuid,
    dead_letter: DeadLetter,
    envelope: Envelope<M>,
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
            match dead_letter.decode() {
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
