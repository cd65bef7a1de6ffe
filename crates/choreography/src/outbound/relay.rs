//! The relay: publishes committed outbox rows, and records them as published once the stream has acknowledged them.
//!
//! The hot path receives rows in memory, right after their commit. The recovery scan finds the rows that it misses (a
//! crash, a full queue, a failed publish) ([`crate::outbound::scan`]), in the batches of this instance and of instances that are
//! gone ([`crate::outbound::owner`]). The scan queries pending batches and never the rows after the last published one, because
//! writers commit out of order. The outcomes of publishing are written in the transaction of the next batch, or on
//! their own if no batch arrives.
//!
//! Refused messages wait in the outbox ([`crate::outbound::refusals`]); a message that can never be stored becomes a dead letter.
//!
//! Acknowledgements arrive on one inbox, each with its own number: a future per message would cost more than the
//! publish. If the server syncs before it acknowledges, events are published in atomic batches ([`crate::outbound::atomic`]); if
//! a batch is refused, because the stream has one of its messages, its messages are published one by one.

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

use crate::broker::limits::Limits;
use crate::outbound::atomic::{self, Ready, Refusal};
use crate::outbound::dead_letter;
use crate::outbound::in_flight::{InFlight, PendingBatches, Sent, Settled};
use crate::outbound::outbox::OutboxRow;
use crate::outbound::outbox_pending::{self, PublishOutcomes, Unpublishable};
use crate::outbound::owner::{self, Owners};
use crate::outbound::refusals::{Refusals, is_permanent};
use crate::outbound::relay_handle::{Published, RelayHandle};
use crate::outbound::scan::Scan;
use crate::telemetry::health::Health;
use recovery::{MAX_SCANNED, within};

/// The [`Health`] part for the outbox.
pub(crate) const OUTBOX: &str = "outbox";

/// The maximum number of batches that wait to be published.
const QUEUE: usize = 64;
/// The maximum number of unacknowledged rows; at that number the relay pauses.
const IN_FLIGHT: usize = 4096;
/// The interval at which the relay writes outcomes and expires unacknowledged publishes.
const TICK: Duration = Duration::from_millis(500);
/// The interval of the recovery scan, and of reading the beats of other instances.
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
    /// Whether events are published in atomic batches.
    grouped: bool,
    /// The age from which the relay marks a row as republished.
    late_after: Duration,
    /// Whether batches without an owner have been taken over.
    adopted: bool,
    /// Whether something was published since the last beat.
    busy: bool,
    /// Whether publishing has stopped.
    draining: bool,
    /// The number after the last publish of rows from before the start, until those are settled.
    recovered: Option<u64>,
    /// The current database error.
    trouble: Option<String>,
}

impl Relay {
    /// Creates a relay. `grouped`: whether events are published in atomic batches.
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

    /// Runs until the processor's end is dropped, then publishes the remaining rows and writes the last outcomes.
    ///
    /// # Errors
    ///
    /// If the connection to nats-server is closed for good.
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
                    // Acknowledgements that arrived while the relay waited for the database are in time.
                    if let Some(reply) = acknowledgements.next().now_or_never().flatten() {
                        self.settle(reply, &mut acknowledgements).await;
                    }
                    self.expire();
                    self.flush().await;
                }
                _ = interval.tick() => self.start_round().await,
                () = ready(()), if scans => self.continue_scan().await,
            }
            if self.recovered.is_some_and(|end| !self.in_flight.has_before(end)) {
                self.recovered = None;
                self.report().await;
            }
        }
        self.drain(acknowledgements, tick).await;
        Ok(())
    }

    /// Waits for publishes in flight, without repeating any, and writes the last outcomes.
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
            tracing::debug!(%error, "this instance's id could not be removed; another one takes over its batches");
        }
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Publishes committed rows, combined with those committed meanwhile, as far as they fit into one atomic batch.
    async fn send_committed(&mut self, mut rows: Vec<OutboxRow>) {
        while self.grouped && rows.len() < atomic::MAX_BATCH {
            let Ok(more) = self.committed.try_recv() else { break };
            rows.extend(more);
        }
        self.send(rows).await;
    }

    /// Publishes rows, except those that have to wait; returns whether there were others.
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
                        // One message may be at fault, and is then refused on its own.
                        tracing::debug!(%error, "a batch could not be sent; its messages are published one by one");
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

    /// Publishes rows one by one.
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

    /// Settles an acknowledgement, and those that have arrived with it.
    async fn settle(&mut self, first: Message, acknowledgements: &mut Subscriber) {
        let mut singly = Vec::new();
        let mut next = Some(first);
        let mut outcomes = PublishOutcomes::default();
        while let Some(reply) = next {
            // An expired publish is repeated, and its second acknowledgement counts.
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

    /// Records that a row was refused. A permanent refusal makes it a dead letter, unless it is one.
    fn refuse(&mut self, row: &OutboxRow, reason: &str, permanent: bool) {
        if !permanent {
            self.refusals.refused(&row.subject, reason, Instant::now());
            return self.settle_all(std::slice::from_ref(row), &Settled::Left);
        }
        self.refusals.answered(&row.subject);
        tracing::error!(
            outbox.row = %row.row_id, message.id = %row.message_id, subject = row.subject, reason,
            "a stream can never store a message; it becomes a dead letter; redrive it once the cause is repaired"
        );
        let mut outcomes = PublishOutcomes::default();
        let dead_letter = dead_letter::of_unpublishable(self.service, row, reason);
        let unpublishable = Unpublishable { row: row.row_id, reason: reason.to_owned(), dead_letter };
        self.batches.settle(row, Settled::Unpublishable(Box::new(unpublishable)), &mut outcomes);
        self.published.add(outcomes);
    }

    /// Returns whether the messages of a refused batch are published one by one: yes, unless the stream is missing.
    fn goes_singly(&mut self, refusal: &Refusal) -> bool {
        match refusal.code() {
            None => return false,
            Some(ErrorCode::ATOMIC_PUBLISH_DISABLED) => {
                tracing::info!("the stream accepts no atomic batches; provision it again to allow them");
                self.grouped = false;
            }
            Some(_) => tracing::debug!(%refusal, "a batch was refused; its messages are published one by one"),
        }
        true
    }

    /// Leaves overdue publishes to the recovery scan.
    fn expire(&mut self) {
        let now = Instant::now();
        let missing = self.in_flight.expire(now);
        // While the connection is down, that is the cause, and readiness reports it.
        if self.is_connected() {
            for row in &missing {
                self.refusals.refused(&row.subject, "no acknowledgement in time", now);
            }
        }
        self.settle_all(&missing, &Settled::Left);
    }

    /// Writes the outcomes that no batch has written; returns whether all are written.
    async fn flush(&mut self) -> bool {
        let outcomes = self.published.take();
        if outcomes.is_empty() {
            return true;
        }
        if let Err(error) = within(self.write(&outcomes)).await {
            self.published.add(outcomes);
            self.report_trouble(format!("the outcomes of publishing cannot be written: {error}")).await;
            return false;
        }
        true
    }

    async fn write(&self, outcomes: &PublishOutcomes) -> Result<(), DbErr> {
        let tx = self.db.begin().await?;
        outbox_pending::record(&tx, outcomes).await?;
        tx.commit().await
    }
}
