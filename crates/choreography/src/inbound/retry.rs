//! Failed batches: waiting for an unavailable database, and retrying or dead-lettering a message that fails alone.

use std::pin::pin;
use std::slice;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use sea_orm::TransactionTrait;
use tokio::time::Instant;

use crate::broker::clock;
use crate::inbound::failure::{Failure, MAX_CONTENTIONS};
use crate::inbound::handler::{HandleError, Handler};
use crate::inbound::inbox;
use crate::inbound::item::Item;
use crate::inbound::processor::{DATABASE, DRAIN, Processor};
use crate::outbound::dead_letter::Reason;
use crate::outbound::outbox::OutboxRow;
use crate::state::database::answered;
use crate::state::delivery_issue;
use crate::telemetry::metrics;

/// The longest delay between two attempts while the database is down.
const MAX_OUTAGE_DELAY: Duration = Duration::from_secs(2);
/// The time after which readiness reports an open transaction, and the interval at which its messages are then marked
/// as in progress; less than half of the ack-wait.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(4);
/// The delay before a message whose failure cannot be recorded is redelivered.
const UNRECORDED_DELAY: Duration = Duration::from_secs(30);

/// The record of a failure.
enum Recorded {
    /// The number of failures; the message is to be redelivered.
    Failures(u64),
    /// Its dead letter.
    DeadLetter { row: OutboxRow, reason: Reason, failures: u64 },
    /// Nothing: another instance has handled the message meanwhile.
    Nothing,
}

impl<H: Handler> Processor<H> {
    /// Runs a transaction until it commits or a message is at fault, waiting while the database is down.
    ///
    /// `None` at a shutdown: nothing is settled, and the messages are redelivered to another instance or after the
    /// restart.
    pub(crate) async fn through_outages<T, F>(
        &self,
        items: &[Item<H::Message>],
        transaction: impl Fn() -> F,
    ) -> Result<Option<T>, HandleError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let (mut delay, mut contentions) = (Duration::from_millis(100), 0);
        loop {
            let failure = match self.watch(items, transaction()).await {
                None => return Ok(None),
                Some(Ok(committed)) => {
                    self.health.ok(DATABASE);
                    return Ok(Some(committed));
                }
                Some(Err(failure)) => failure,
            };
            match failure {
                Failure::Message(error) => return Err(error),
                Failure::Timeout(_) => return Err(HandleError::Retry(failure.into())),
                Failure::Contention(_) if contentions < MAX_CONTENTIONS => {
                    contentions += 1;
                    continue;
                }
                Failure::Contention(_) | Failure::Outage(_) => {}
            }
            self.health.failed(DATABASE, format!("a batch could not be committed: {failure}"));
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.shutdown.cancelled() => return Ok(None),
            }
            delay = (delay * 2).min(MAX_OUTAGE_DELAY);
            self.report_progress(items).await;
        }
    }

    /// Awaits a transaction. If it stays open, reports that to readiness and keeps its messages from being redelivered.
    ///
    /// `None` if it does not end within [`DRAIN`] after a shutdown.
    async fn watch<T>(&self, items: &[Item<H::Message>], transaction: impl Future<Output = T>) -> Option<T> {
        let began = Instant::now();
        let mut ticks = tokio::time::interval_at(began + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
        let mut stopped = pin!(async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        });
        let mut transaction = pin!(transaction);
        loop {
            tokio::select! {
                biased;
                ended = &mut transaction => return Some(ended),
                _ = ticks.tick() => {
                    let (messages, seconds) = (items.len(), began.elapsed().as_secs());
                    let detail = format!("a transaction of {messages} messages has been open for {seconds} s");
                    self.health.failed(DATABASE, detail);
                    self.report_progress(items).await;
                }
                () = &mut stopped => return None,
            }
        }
    }

    async fn report_progress(&self, items: &[Item<H::Message>]) {
        for item in items {
            item.delivery.settle(AckKind::Progress).await;
        }
    }

    /// Settles a message that failed alone: it is redelivered later, or dead-lettered after the maximum number of
    /// attempts.
    pub(crate) async fn settle_failure(&self, item: &Item<H::Message>, error: &HandleError) {
        let delivery = &item.delivery;
        item.end_span(self.service, false, Some(error.to_string()));
        metrics::failed(item.decoded.as_ref().ok().map(|envelope| envelope.message_type.as_str()));
        let record = || Box::pin(self.record_failure(item, error));
        let recorded = self.through_outages(slice::from_ref(item), record).await;
        match recorded {
            Ok(None) => {}
            Ok(Some(Recorded::Failures(failures))) => {
                if let HandleError::UnknownVersion(unknown) = error {
                    self.report_unknown(unknown);
                }
                let delay = self.policies.retry_delay(failures);
                tracing::warn!(
                    subject = %delivery.message.subject, attempt = failures, ?delay, %error,
                    trace.id = item.trace_id(),
                    "a message failed and will be redelivered"
                );
                delivery.settle(AckKind::Nak(Some(delay))).await;
            }
            Ok(Some(Recorded::DeadLetter { row, reason, failures })) => {
                self.report_dead_letter(item, reason, &error.to_string(), failures);
                self.relay.offer(vec![row]);
                delivery.settle(AckKind::Term).await;
            }
            Ok(Some(Recorded::Nothing)) => delivery.settle(AckKind::Ack).await,
            Err(refusal) => {
                tracing::error!(
                    subject = %delivery.message.subject, %error, %refusal, trace.id = item.trace_id(),
                    "a message failed and its failure cannot be recorded; it will be redelivered"
                );
                delivery.settle(AckKind::Nak(Some(UNRECORDED_DELAY))).await;
            }
        }
    }

    /// Records that a message failed, or dead-letters it after its last attempt.
    async fn record_failure(&self, item: &Item<H::Message>, error: &HandleError) -> Result<Recorded, Failure> {
        let (id, now) = (self.inbox_id(item), clock::now());
        let failures = answered(delivery_issue::failures(&self.db, id)).await? + 1;
        let (origin, detail) = (self.origin(&item.delivery, failures), error.to_string());
        let failure = origin.failure(id, &detail, now);
        let reason = match error {
            HandleError::Reject(_) => Reason::Rejected,
            HandleError::UnknownVersion(_) if self.is_overdue(&item.delivery) => Reason::UnknownVersion,
            HandleError::Retry(_) if failures >= self.max_attempts => Reason::MaxAttemptsExceeded,
            HandleError::UnknownVersion(_) | HandleError::Retry(_) => {
                answered(delivery_issue::record(&self.db, vec![failure])).await?;
                return Ok(Recorded::Failures(failures));
            }
        };
        // The dead letter, the inbox row, and the delivery issue commit together.
        let writing = async {
            let tx = self.db.begin().await?;
            if inbox::first_deliveries(&tx, &[self.received(item)]).await?.is_empty() {
                tx.commit().await?;
                return Ok(Recorded::Nothing);
            }
            let mut row = origin.row(reason, &detail, now);
            let dead = delivery_issue::entity::Model {
                failures: failure.failures,
                failed_at: failure.failed_at,
                ..origin.delivery_issue(reason, &detail, now)
            };
            delivery_issue::record(&tx, vec![dead]).await?;
            self.relay.insert(&tx, slice::from_mut(&mut row)).await?;
            tx.commit().await?;
            Ok(Recorded::DeadLetter { row, reason, failures })
        };
        answered(writing).await
    }

    /// Logs and counts a dead letter that is committed.
    pub(crate) fn report_dead_letter(&self, item: &Item<H::Message>, reason: Reason, detail: &str, attempts: u64) {
        let delivery = &item.delivery;
        tracing::error!(
            subject = %delivery.message.subject, stream = %delivery.stream, sequence = delivery.sequence,
            attempts, reason = reason.as_str(), detail, trace.id = item.trace_id(),
            "a message becomes a dead letter"
        );
        metrics::dead_lettered(reason);
    }
}
