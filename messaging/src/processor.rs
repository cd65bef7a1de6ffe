//! One delivery, end to end: a batch of them in one transaction.
//!
//! ```text
//! decode ─► BEGIN ─► inbox: keep first deliveries ─► handler ─► outbox rows ─► COMMIT ─► ack the batch
//!                                                                                └────► relay
//! ```
//!
//! A batch that the handler fails is tried again one message at a time, so that one bad message never blocks its
//! neighbours. A batch that the database fails is tried again whole, in place, for as long as it takes: no message is
//! to blame for that, and no attempt of theirs is used up.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::AckKind;
use futures::FutureExt;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::consumer::Delivery;
use crate::database::is_outage;
use crate::dead_letter::{Origin, Reason};
use crate::envelope::{self, Envelope, Malformed, Speaker, unix_millis};
use crate::handler::{HandleError, Handler};
use crate::health::Health;
use crate::inbox::{self, Received};
use crate::item::Item;
use crate::limits::TooLarge;
use crate::outbox::OutboxRow;
use crate::relay_handle::RelayHandle;
use crate::spans::{Begun, Created};
use crate::unpublished::{self, Marks};
use crate::{clock, metrics, mishap, redrive};

/// The part of [`Health`] that says whether batches commit.
pub(crate) const DATABASE: &str = "database";

/// The most messages in a batch.
pub(crate) const BATCH: usize = 256;
/// The longest wait between two tries while the database is away.
const LONGEST_OUTAGE_WAIT: Duration = Duration::from_secs(2);
/// The longest that messages are left to gather.
const GATHER: Duration = Duration::from_millis(5);
/// How far in the future a message's time may be: as far as a clock may differ without being reported.
const MAX_AHEAD: Duration = clock::MAX_SKEW;
/// How long a shutdown waits for what is already queued.
const DRAIN: Duration = Duration::from_secs(5);

/// How often a message is delivered before it becomes a dead letter, and how long to wait in between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    pub(crate) max_attempts: u64,
}

impl RetryPolicy {
    /// Doubles from a quarter of a second to half a minute.
    fn delay(attempt: u64) -> Duration {
        let doublings = u32::try_from(attempt.saturating_sub(1).min(7)).unwrap_or(7);
        (Duration::from_millis(250) * 2_u32.pow(doublings)).min(Duration::from_secs(30))
    }
}

/// Why a batch did not commit.
pub(crate) enum Failure {
    /// The database's fault: no message is to blame.
    Outage(DbErr),
    /// The handler's word.
    Handler(HandleError),
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        Self::Outage(error)
    }
}

impl From<TooLarge> for Failure {
    fn from(error: TooLarge) -> Self {
        Self::Handler(HandleError::Reject(error.to_string()))
    }
}

pub(crate) struct Processor<H: Handler> {
    pub(crate) db: DatabaseConnection,
    pub(crate) handler: Arc<H>,
    pub(crate) service: &'static str,
    pub(crate) source: String,
    pub(crate) speaker: Speaker,
    pub(crate) relay: RelayHandle,
    pub(crate) health: Health,
    /// How long the inbox remembers a message.
    pub(crate) remembers: Duration,
    pub(crate) retry: RetryPolicy,
    /// Whether the last batch had messages that were handled before.
    pub(crate) duplicates: AtomicBool,
    pub(crate) shutdown: CancellationToken,
}

impl<H: Handler> Processor<H> {
    /// Handles what the pullers queue, until they have all stopped and the queue is empty; and between two batches
    /// what is redriven.
    ///
    /// A small batch costs nearly what a large one does. So messages gather for as long as the last batch took, where that was
    /// just now; one that comes alone does not wait.
    pub(crate) async fn run(self, mut queue: mpsc::Receiver<Delivery>, mut redrives: mpsc::Receiver<redrive::Job>) {
        let mut deliveries = Vec::with_capacity(BATCH);
        let mut deadline = None;
        let mut not_before = Instant::now();
        loop {
            tokio::select! {
                arrived = queue.recv_many(&mut deliveries, BATCH) => if arrived == 0 { return },
                Some(job) = redrives.recv() => {
                    self.redrive(job).await;
                    continue;
                }
            }
            if self.shutdown.is_cancelled()
                && Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + DRAIN)
            {
                for delivery in deliveries.drain(..) {
                    delivery.settle(AckKind::Nak(None)).await;
                }
                continue;
            }
            if deliveries.len() < BATCH {
                tokio::time::sleep_until(not_before).await;
                deliveries.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(BATCH - deliveries.len()));
            }
            let began = Instant::now();
            let items = deliveries.drain(..).map(|delivery| self.decode(delivery)).collect();
            self.process(items).await;
            not_before = Instant::now() + began.elapsed().min(GATHER);
        }
    }

    fn decode(&self, delivery: Delivery) -> Item<H::Message> {
        let message = &delivery.message;
        let decoded =
            envelope::decode(message.subject.as_str(), message.headers.as_ref(), &message.payload, self.speaker)
                .and_then(|envelope| if delivery.is_refilled() { self.remembered(envelope) } else { Ok(envelope) });
        let begun = decoded.as_ref().ok().and_then(|envelope| Begun::within(envelope.trace_parent.as_deref()));
        // What follows from the message follows from its being processed.
        let decoded = match begun {
            Some(begun) => {
                decoded.map(|envelope| Envelope { trace_parent: Some(begun.trace_parent()), ..envelope })
            }
            None => decoded,
        };
        Item { delivery, decoded, begun }
    }

    /// Refuses a message from a refill that the inbox may have forgotten.
    fn remembered(&self, envelope: Envelope<H::Message>) -> Result<Envelope<H::Message>, Malformed> {
        let age = clock::now() - envelope.time;
        // A time that is yet to come was written by a clock that was ahead: how old the message is, nobody knows.
        if age < self.remembers && age + MAX_AHEAD > time::Duration::ZERO {
            return Ok(envelope);
        }
        Err(Malformed::TooOld(format!(
            "it was said at {} and published again; the inbox remembers {} s",
            envelope::rfc3339(envelope.time),
            self.remembers.as_secs()
        )))
    }

    /// Handles a batch whole; where the handler fails it, one message at a time.
    async fn process(&self, items: Vec<Item<H::Message>>) {
        let Err(error) = self.commit_through_outages(&items).await else { return };
        if let [only] = items.as_slice() {
            return self.give_up_or_retry(only, error).await;
        }
        tracing::debug!(batch = items.len(), %error, "the batch failed; trying one message at a time");
        for item in items {
            let single = std::slice::from_ref(&item);
            if let Err(error) = self.commit_through_outages(single).await {
                self.give_up_or_retry(&item, error).await;
            }
        }
    }

    /// Commits the batch and settles it, waiting out a database that is away.
    ///
    /// Returns the handler's error where it failed the batch; then nothing is written and nothing settled.
    async fn commit_through_outages(&self, items: &[Item<H::Message>]) -> Result<(), HandleError> {
        let mut wait = Duration::from_millis(100);
        loop {
            match self.commit(items).await {
                Ok(rows) => {
                    self.health.ok(DATABASE);
                    self.relay.offer(rows);
                    self.handler.committed();
                    for item in items {
                        let kind = if item.decoded.is_ok() { AckKind::Ack } else { AckKind::Term };
                        item.delivery.settle(kind).await;
                    }
                    return Ok(());
                }
                Err(Failure::Handler(error)) => return Err(error),
                Err(Failure::Outage(error)) => {
                    self.health.failed(DATABASE, format!("a batch could not be committed: {error}"));
                    if self.shutdown.is_cancelled() {
                        // Not settled: it is delivered again, to whoever runs then.
                        return Ok(());
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_OUTAGE_WAIT);
                    for item in items {
                        item.delivery.settle(AckKind::Progress).await;
                    }
                }
            }
        }
    }

    /// One transaction: inbox, handler, outbox, and the marks of what the relay has published meanwhile.
    async fn commit(&self, items: &[Item<H::Message>]) -> Result<Vec<OutboxRow>, Failure> {
        let marks = self.relay.published().take();
        let committed = self.commit_with(items, &marks).await;
        if committed.is_err() {
            self.relay.published().add(marks);
        }
        committed
    }

    async fn commit_with(&self, items: &[Item<H::Message>], marks: &Marks) -> Result<Vec<OutboxRow>, Failure> {
        let (now, began) = (clock::now(), Instant::now());
        let (tx, mut first) = self.begin(items).await?;
        let mut batch = Vec::with_capacity(items.len());
        let (mut rows, mut mishaps) = (Vec::new(), Vec::new());
        let mut duplicates = HashMap::new();
        for item in items {
            // Removed, so that a message delivered twice within one batch is handled once.
            let id = self.inbox_id(item);
            if !first.remove(&id) {
                let delivery = &item.delivery;
                // A refill brings back all that was ever handled; that is no news.
                if delivery.is_refilled() {
                    continue;
                }
                duplicates.entry(id).and_modify(|row| again(row, delivery)).or_insert_with(|| {
                    let mut row = self.origin(delivery).plain_mishap(id, now);
                    again(&mut row, delivery);
                    row
                });
                continue;
            }
            match &item.decoded {
                Ok(envelope) => batch.push(envelope),
                Err(malformed) => {
                    let (row, mishap) = self.dead_letter(item, malformed.reason(), &malformed.to_string(), now);
                    rows.push(row);
                    mishaps.push(mishap);
                }
            }
        }
        let (malformed, mut created) = (rows.len(), None);
        if !batch.is_empty() {
            let mut outgoing = self.handle(&tx, &batch).await?;
            created = Some(Created::of(&mut outgoing));
            rows.extend(self.relay.rows(outgoing, &self.source, now)?);
        }
        // After what was given up: that may have come twice within this batch.
        mishap::record(&tx, mishaps).await?;
        let repeated: HashSet<Uuid> = duplicates.keys().copied().collect();
        mishap::record(&tx, duplicates.into_values().collect()).await?;
        self.relay.insert(&tx, &mut rows).await?;
        unpublished::mark(&tx, marks).await?;
        tx.commit().await?;
        if let Some(created) = created {
            created.committed();
        }
        items.iter().for_each(|item| item.told(self.service, repeated.contains(&self.inbox_id(item)), None));
        let duplicates = items.len() - batch.len() - malformed;
        let types = batch.iter().map(|envelope| envelope.message_type.as_str());
        metrics::committed(began.elapsed(), types, duplicates as u64, items.len());
        Ok(rows)
    }

    /// Begins a transaction with its first statement, and returns what is delivered for the first time.
    ///
    /// As a rule that is everything, and then the inbox need not say what it took. Which messages it knew it is asked only
    /// where it knew some, and from then on until it knows none.
    async fn begin(&self, items: &[Item<H::Message>]) -> Result<(DatabaseTransaction, HashSet<Uuid>), DbErr> {
        let received: Vec<Received> = items.iter().map(|item| self.received(item)).collect();
        if !self.duplicates.load(Ordering::Relaxed) {
            let tx = self.db.begin().await?;
            if inbox::are_all_new(&tx, &received).await? {
                return Ok((tx, received.into_iter().map(|received| received.id).collect()));
            }
            tx.rollback().await?;
        }
        let tx = self.db.begin().await?;
        let first = inbox::first_deliveries(&tx, &received).await?;
        self.duplicates.store(first.len() < received.len(), Ordering::Relaxed);
        Ok((tx, first))
    }

    /// Calls the handler; a panic in it is an error of the message that caused it, not the end of the process.
    pub(crate) async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<H::Message>],
    ) -> Result<Vec<envelope::Outgoing>, Failure> {
        let handled = AssertUnwindSafe(self.handler.handle(tx, batch)).catch_unwind().await;
        match handled {
            Ok(Ok(outgoing)) => Ok(outgoing),
            Ok(Err(HandleError::Retry(error))) => match error.downcast::<DbErr>() {
                Ok(error) if is_outage(&error) => Err(Failure::Outage(error)),
                Ok(error) => Err(Failure::Handler(HandleError::Retry(error.into()))),
                Err(error) => Err(Failure::Handler(HandleError::Retry(error))),
            },
            Ok(Err(rejected)) => Err(Failure::Handler(rejected)),
            Err(_) => Err(Failure::Handler(HandleError::Retry(anyhow::anyhow!("the handler panicked")))),
        }
    }

    /// A message that failed alone: later again, or a dead letter.
    async fn give_up_or_retry(&self, item: &Item<H::Message>, error: HandleError) {
        let delivery = &item.delivery;
        item.told(self.service, false, Some(error.to_string()));
        metrics::failed(item.decoded.as_ref().ok().map(|envelope| envelope.message_type.as_str()));
        let reason = match &error {
            HandleError::Reject(_) => Reason::Rejected,
            HandleError::Retry(_) if delivery.attempt >= self.retry.max_attempts => Reason::AttemptsExhausted,
            HandleError::Retry(_) => {
                let delay = RetryPolicy::delay(delivery.attempt);
                tracing::warn!(
                    subject = %delivery.message.subject, attempt = delivery.attempt, ?delay, %error,
                    trace.id = item.trace_id(),
                    "a message failed and will be delivered again"
                );
                self.remember_failure(item, &error).await;
                return delivery.settle(AckKind::Nak(Some(delay))).await;
            }
        };
        let (mut row, mut mishap) = self.dead_letter(item, reason, &error.to_string(), clock::now());
        (mishap.failures, mishap.failed_at) = (1, mishap.given_up_at);
        match self.commit_dead_letter(item, &mut row, mishap).await {
            Ok(()) => {
                self.relay.offer(vec![row]);
                delivery.settle(AckKind::Term).await;
            }
            Err(error) => {
                self.health.failed(DATABASE, format!("a dead letter could not be committed: {error}"));
                delivery.settle(AckKind::Nak(Some(RetryPolicy::delay(delivery.attempt)))).await;
            }
        }
    }

    /// Remembers that a message failed. Where that is not possible it is not: the message is what matters.
    async fn remember_failure(&self, item: &Item<H::Message>, error: &HandleError) {
        let mishap = self.origin(&item.delivery).failure(self.inbox_id(item), &error.to_string(), clock::now());
        if let Err(error) = mishap::record(&self.db, vec![mishap]).await {
            tracing::debug!(%error, "a failure could not be remembered");
        }
    }

    /// The dead letter, the inbox mark, and the memory of it commit together. A message that another instance has
    /// handled meanwhile leaves no dead letter.
    async fn commit_dead_letter(
        &self,
        item: &Item<H::Message>,
        row: &mut OutboxRow,
        mishap: mishap::entity::Model,
    ) -> Result<(), DbErr> {
        let tx = self.db.begin().await?;
        if !inbox::first_deliveries(&tx, &[self.received(item)]).await?.is_empty() {
            mishap::record(&tx, vec![mishap]).await?;
            self.relay.insert(&tx, std::slice::from_mut(row)).await?;
        }
        tx.commit().await
    }

    fn received(&self, item: &Item<H::Message>) -> Received {
        Received { id: self.inbox_id(item), at: unix_millis(item.delivery.stored) }
    }

    fn inbox_id(&self, item: &Item<H::Message>) -> Uuid {
        match &item.decoded {
            Ok(envelope) => envelope.id,
            Err(malformed) => self.origin(&item.delivery).inbox_id(malformed.reason()),
        }
    }

    /// Makes the row of a dead letter and the row that remembers it.
    fn dead_letter(
        &self,
        item: &Item<H::Message>,
        reason: Reason,
        detail: &str,
        now: OffsetDateTime,
    ) -> (OutboxRow, mishap::entity::Model) {
        let delivery = &item.delivery;
        tracing::error!(
            subject = %delivery.message.subject, stream = %delivery.stream, sequence = delivery.sequence,
            attempts = delivery.attempt, reason = reason.as_str(), detail, trace.id = item.trace_id(),
            "a message becomes a dead letter"
        );
        metrics::given_up(reason);
        let origin = self.origin(delivery);
        (origin.row(reason, detail, now), origin.mishap(reason, detail, now))
    }

    fn origin<'a>(&'a self, delivery: &'a Delivery) -> Origin<'a> {
        Origin {
            service: self.service,
            stream: &delivery.stream,
            sequence: delivery.sequence,
            stored: Some(delivery.stored),
            subject: delivery.message.subject.as_str(),
            attempts: delivery.attempt,
            headers: delivery.message.headers.as_ref(),
            body: delivery.message.payload.clone(),
        }
    }
}

/// One more duplicate.
fn again(row: &mut mishap::entity::Model, delivery: &Delivery) {
    row.duplicates += 1;
    row.duplicate_at = Some(row.updated_at);
    row.sequence = i64::try_from(delivery.sequence).unwrap_or(i64::MAX);
}

impl Malformed {
    fn reason(&self) -> Reason {
        match self {
            Self::Undecodable(_) => Reason::Undecodable,
            Self::Foreign(_) => Reason::Foreign,
            Self::TooOld(_) => Reason::TooOld,
        }
    }
}
