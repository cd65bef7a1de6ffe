//! The relay: publishes what transactions committed, and marks it once the stream has it.
//!
//! The hot path takes rows from memory, right after their commit. What it misses (a crash, a full queue, a publish
//! that failed) the recovery scan finds ([`crate::scan`]), among the batches of this instance and of those that are gone
//! ([`crate::owner`]). The scan asks for pending batches and never for rows after the last one published, because writers
//! commit out of order. Marks of what has been published ride along in the next batch's transaction; when no batch comes
//! they are written on their own.
//!
//! What a stream refuses waits in the outbox ([`crate::refusals`]); what it can never take becomes a dead letter.
//!
//! Acknowledgements come to one inbox, each to a number of its own: a future for each would cost more than the publish.
//! Where the server syncs before it acknowledges, events go in atomic batches ([`crate::atomic`]); a batch that is
//! refused, because the stream has one of its messages, goes message by message.

mod recovery;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::connection::State;
use async_nats::jetstream::ErrorCode;
use async_nats::{Client, Message, Subscriber};
use futures::{FutureExt, StreamExt};
use sea_orm::{DatabaseConnection, DbErr, TransactionTrait};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use crate::atomic::{self, Ready, Refusal};
use crate::dead_letter;
use crate::health::Health;
use crate::in_flight::{InFlight, PendingBatches, Sent, Settled};
use crate::limits::Limits;
use crate::outbox::OutboxRow;
use crate::outbox_pending::{self, PublishOutcomes, Unpublishable};
use crate::owner::{self, Owners};
use crate::refusals::{Refusals, is_permanent};
use crate::relay_handle::{Published, RelayHandle};
use crate::scan::Scan;
use recovery::{MAX_SCANNED, within};

/// The part of [`Health`] that says whether the outbox drains.
pub(crate) const OUTBOX: &str = "outbox";

/// Batches waiting to be published.
const QUEUE: usize = 64;
/// Rows that were sent and are not acknowledged. With as many, nothing more is sent.
const IN_FLIGHT: usize = 4096;
/// How often the relay looks for marks to write and publishes that were not acknowledged.
const TICK: Duration = Duration::from_millis(500);
/// How often a round of the recovery scan begins, and the beats of other instances are read.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);
pub(crate) struct Relay {
    db: DatabaseConnection,
    client: Client,
    service: &'static str,
    health: Health,
    owner: Uuid,
    committed: mpsc::Receiver<Vec<OutboxRow>>,
    published: Published,
    in_flight: InFlight,
    batches: PendingBatches,
    refusals: Refusals,
    scan: Scan,
    owners: Owners,
    /// Whether events go in atomic batches.
    grouped: bool,
    /// How old a row may be that is published as if it was new.
    late_after: Duration,
    /// Whether the batches that no instance owns have been taken over.
    adopted: bool,
    /// Whether something was sent since the last beat.
    busy: bool,
    /// Whether nothing is sent any more.
    draining: bool,
    /// The number after the last one that was sent of what was written before the start, until it is settled.
    recovered: Option<u64>,
    /// What the database does not let the relay do.
    trouble: Option<String>,
}

impl Relay {
    /// Makes a relay. `grouped` says whether events go in atomic batches.
    pub(crate) fn new(
        db: DatabaseConnection,
        client: Client,
        service: &'static str,
        grouped: bool,
        limits: Limits,
        late_after: Duration,
        health: Health,
    ) -> (Self, RelayHandle) {
        health.expect(OUTBOX);
        let (sender, committed) = mpsc::channel(QUEUE);
        let owner = Uuid::now_v7();
        let published = Published::new(owner);
        let handle =
            RelayHandle { committed: sender, published: published.clone(), owner, limits: Arc::new(limits) };
        let in_flight = InFlight::new(client.new_inbox());
        let relay = Self {
            db,
            client,
            service,
            health,
            owner,
            committed,
            published,
            in_flight,
            batches: PendingBatches::default(),
            refusals: Refusals::default(),
            scan: Scan::new(owner),
            owners: Owners::default(),
            grouped,
            late_after,
            adopted: false,
            busy: false,
            draining: false,
            recovered: None,
            trouble: None,
        };
        (relay, handle)
    }

    /// Runs until the processor's end is dropped, then publishes what is left and writes the last marks.
    ///
    /// # Errors
    ///
    /// Where the connection to nats-server is closed for good.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut acknowledgements = self.client.subscribe(self.in_flight.acknowledgements()).await?;
        let mut tick = tokio::time::interval(TICK);
        let mut interval = tokio::time::interval(SCAN_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let scans = self.scan.is_active() && self.in_flight.rows() < MAX_SCANNED;
            tokio::select! {
                Some(reply) = acknowledgements.next() => self.settle(reply, &mut acknowledgements).await,
                rows = self.committed.recv(), if self.in_flight.rows() < IN_FLIGHT => match rows {
                    Some(rows) => self.send_committed(rows).await,
                    None => break,
                },
                _ = tick.tick() => {
                    // What came while the relay waited for the database has come in time.
                    if let Some(reply) = acknowledgements.next().now_or_never().flatten() {
                        self.settle(reply, &mut acknowledgements).await;
                    }
                    self.expire();
                    self.flush().await;
                }
                _ = interval.tick() => self.look().await,
                () = ready(()), if scans => self.scan_on().await,
            }
            if self.recovered.is_some_and(|end| !self.in_flight.has_before(end)) {
                self.recovered = None;
                self.report().await;
            }
        }
        self.drain(acknowledgements, tick).await;
        Ok(())
    }

    /// Waits for what is in flight, sends nothing again, and writes the last marks.
    async fn drain(&mut self, mut acknowledgements: Subscriber, mut tick: tokio::time::Interval) {
        self.draining = true;
        while !self.in_flight.is_empty() && self.is_connected() {
            tokio::select! {
                Some(reply) = acknowledgements.next() => self.settle(reply, &mut acknowledgements).await,
                _ = tick.tick() => self.expire(),
            }
        }
        self.flush().await;
        if let Err(error) = within(owner::leave(&self.db, self.owner)).await {
            tracing::debug!(%error, "the id of this instance could not be removed; others will notice");
        }
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Sends what was committed, and what has been committed meanwhile as far as it fits into one atomic batch.
    async fn send_committed(&mut self, mut rows: Vec<OutboxRow>) {
        while self.grouped && rows.len() < atomic::MAX_BATCH {
            let Ok(more) = self.committed.try_recv() else { break };
            rows.extend(more);
        }
        self.send(rows).await;
    }

    /// Sends rows, but for those that have to wait; returns whether there were others.
    async fn send(&mut self, rows: Vec<OutboxRow>) -> bool {
        let now = Instant::now();
        let connected = self.is_connected();
        for row in &rows {
            self.batches.send(row);
        }
        let (rows, waiting): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| connected && self.refusals.admits(&row.subject, now));
        self.settle_all(&waiting, &Settled::Left);
        if rows.is_empty() {
            return false;
        }
        self.busy = true;
        let (events, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| self.grouped && row.is_event());
        let mut events = events.into_iter();
        loop {
            let batch: Vec<OutboxRow> = events.by_ref().take(atomic::MAX_BATCH).collect();
            match batch.len() {
                0 => break,
                1..atomic::MIN_BATCH => self.send_singly(batch).await,
                _ => {
                    let ready = batch.iter().map(OutboxRow::ready).collect();
                    let reply = self.in_flight.add(Sent::Batch(batch));
                    if let Err(error) = self.send_batch(ready, reply).await {
                        // One of them may be to blame, and each is told so on its own.
                        tracing::debug!(%error, "a batch could not be sent; going message by message");
                        if let Some(Sent::Batch(rows)) = self.in_flight.take_last() {
                            self.send_singly(rows).await;
                        }
                    }
                }
            }
        }
        self.send_singly(others).await;
        true
    }

    async fn send_batch(&self, ready: Vec<Ready>, reply: String) -> Result<(), PublishError> {
        match atomic::stage(&self.client, ready).await? {
            Some(last) => last.send(&self.client, reply).await,
            None => Ok(()),
        }
    }

    /// Sends rows one by one.
    async fn send_singly(&mut self, rows: Vec<OutboxRow>) {
        for row in rows {
            let ready = row.ready();
            let reply = self.in_flight.add(Sent::One(row));
            let Err(error) = ready.send(&self.client, reply).await else { continue };
            if let Some(Sent::One(row)) = self.in_flight.take_last() {
                let permanent = !matches!(error.kind(), PublishErrorKind::Send);
                self.refuse(&row, &error.to_string(), permanent);
            }
        }
    }

    /// Settles an acknowledgement, and those that have come with it.
    async fn settle(&mut self, first: Message, acknowledgements: &mut Subscriber) {
        let mut singly = Vec::new();
        let mut next = Some(first);
        let mut outcomes = PublishOutcomes::default();
        while let Some(reply) = next {
            // What is waited for no more is published again, and its second acknowledgement counts.
            if let Some(sent) = self.in_flight.take(&reply) {
                match (atomic::acknowledged(&reply), sent) {
                    (Ok(_), Sent::One(row)) => self.stored(&row, &mut outcomes),
                    (Ok(_), Sent::Batch(rows)) => rows.iter().for_each(|row| self.stored(row, &mut outcomes)),
                    (Err(refusal), Sent::Batch(rows)) => match self.goes_singly(&refusal) {
                        true => singly.extend(rows),
                        false => rows.iter().for_each(|row| self.refuse(row, &refusal.to_string(), false)),
                    },
                    (Err(refusal), Sent::One(row)) => {
                        self.refuse(&row, &refusal.to_string(), is_permanent(refusal.code()));
                    }
                }
            }
            next = acknowledgements.next().now_or_never().flatten();
        }
        self.published.add(outcomes);
        if self.draining {
            return self.settle_all(&singly, &Settled::Left);
        }
        self.send_singly(singly).await;
    }

    fn stored(&mut self, row: &OutboxRow, outcomes: &mut PublishOutcomes) {
        self.refusals.answered(&row.subject);
        self.batches.settle(row, Settled::Stored, outcomes);
    }

    fn settle_all(&mut self, rows: &[OutboxRow], settled: &Settled) {
        let mut outcomes = PublishOutcomes::default();
        for row in rows {
            self.batches.settle(row, settled.clone(), &mut outcomes);
        }
        self.published.add(outcomes);
    }

    /// Notes that a row was refused: for now, or forever; then it becomes a dead letter, unless it is one.
    fn refuse(&mut self, row: &OutboxRow, reason: &str, permanent: bool) {
        if !permanent {
            self.refusals.refused(&row.subject, reason, Instant::now());
            return self.settle_all(std::slice::from_ref(row), &Settled::Left);
        }
        self.refusals.answered(&row.subject);
        tracing::error!(
            outbox.row = %row.row_id, message.id = %row.message_id, subject = row.subject, reason,
            "a stream can never take a message; it becomes a dead letter, to be redriven once the cause is repaired"
        );
        let mut outcomes = PublishOutcomes::default();
        let dead_letter = dead_letter::of_unpublishable(self.service, row, reason);
        let unpublishable = Unpublishable { row: row.row_id, reason: reason.to_owned(), dead_letter };
        self.batches.settle(row, Settled::Unpublishable(Box::new(unpublishable)), &mut outcomes);
        self.published.add(outcomes);
    }

    /// Returns whether a refused batch is to be sent message by message: unless the stream is not there.
    fn goes_singly(&mut self, refusal: &Refusal) -> bool {
        match refusal.code() {
            None => return false,
            Some(ErrorCode::ATOMIC_PUBLISH_DISABLED) => {
                tracing::info!("the stream takes no batches: provision it again to let it");
                self.grouped = false;
            }
            Some(_) => tracing::debug!(%refusal, "a batch was refused; going message by message"),
        }
        true
    }

    /// Leaves what was not acknowledged in time to the recovery scan.
    fn expire(&mut self) {
        let now = Instant::now();
        let missing = self.in_flight.expire(now);
        // While the connection is down, that is the reason, and readiness says so.
        if self.is_connected() {
            for row in &missing {
                self.refusals.refused(&row.subject, "no acknowledgement in time", now);
            }
        }
        self.settle_all(&missing, &Settled::Left);
    }

    /// Writes the marks that no batch has taken along; returns whether all are written.
    async fn flush(&mut self) -> bool {
        let outcomes = self.published.take();
        if outcomes.is_empty() {
            return true;
        }
        if let Err(error) = within(self.write(&outcomes)).await {
            self.published.add(outcomes);
            self.report_trouble(format!("published messages cannot be marked: {error}")).await;
            return false;
        }
        true
    }

    async fn write(&self, outcomes: &PublishOutcomes) -> Result<(), DbErr> {
        let tx = self.db.begin().await?;
        outbox_pending::mark(&tx, outcomes).await?;
        tx.commit().await
    }
}
