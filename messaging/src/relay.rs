//! The relay: publishes what transactions committed, and marks it once the stream has it.
//!
//! The hot path takes rows from memory, right behind their commit. What it misses (a crash, a full queue, a publish
//! that failed) a sweep finds: all of it at start, and by timer whatever is older than a grace time. A sweep asks for
//! unpublished rows and never for rows behind a cursor, because writers commit out of order. Marks of what has been
//! published ride along in the next batch's transaction; when no batch comes they are written on their own.
//!
//! Acknowledgements come to one inbox, each to a number of its own: a future for each would cost more than the publish.
//! Where the server syncs before it acknowledges, events go in atomic batches ([`crate::atomic`]); a batch that is
//! refused, because the stream has one of its messages, goes message by message.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::client::PublishError;
use async_nats::jetstream::ErrorCode;
use async_nats::{Client, Message, Subscriber};
use futures::{FutureExt, StreamExt};
use sea_orm::{DatabaseConnection, DbErr, TransactionTrait};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::atomic::{self, Ready, Refusal};
use crate::health::Health;
use crate::in_flight::{InFlight, PATIENCE, Ranges, Sent};
use crate::outbox::OutboxRow;
use crate::unpublished::{self, Marks};

/// The part of [`Health`] that says whether the outbox drains.
pub(crate) const OUTBOX: &str = "outbox";

/// Batches waiting to be published.
const QUEUE: usize = 64;
/// Rows that were sent and are not acknowledged. With as many, nothing more is sent.
const IN_FLIGHT: usize = 4096;
/// Rows a sweep takes at a time.
const SWEEP: u128 = 2048;
/// How often the relay looks for marks to write and publishes that were not acknowledged.
const TICK: Duration = Duration::from_millis(500);
/// How often it looks for rows left behind.
const LOOK: Duration = Duration::from_secs(2);
/// How old an unpublished row is before a sweep takes it: longer than [`PATIENCE`].
const GRACE: Duration = Duration::from_secs(10);

/// The processor's end of the relay.
#[derive(Clone)]
pub(crate) struct RelayHandle {
    committed: mpsc::Sender<Vec<OutboxRow>>,
    published: Published,
}

impl RelayHandle {
    /// Hands over what was just committed. Never waits: what does not fit the sweep will find.
    pub(crate) fn offer(&self, rows: Vec<OutboxRow>) {
        if !rows.is_empty() && self.committed.try_send(rows).is_err() {
            tracing::debug!("the relay is behind; the sweep will publish what was just committed");
        }
    }

    pub(crate) fn published(&self) -> &Published {
        &self.published
    }
}

/// What the stream has acknowledged and the tables do not know of yet.
#[derive(Clone, Default)]
pub(crate) struct Published {
    marks: Arc<Mutex<Marks>>,
}

impl Published {
    /// Takes the marks, to write them in the caller's transaction.
    pub(crate) fn take(&self) -> Marks {
        std::mem::take(&mut *self.marks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds marks: after a publish, or after the transaction that would have written them failed.
    pub(crate) fn add(&self, more: Marks) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).extend(more);
    }
}

pub(crate) struct Relay {
    db: DatabaseConnection,
    client: Client,
    health: Health,
    committed: mpsc::Receiver<Vec<OutboxRow>>,
    published: Published,
    in_flight: InFlight,
    ranges: Ranges,
    /// Whether events go in atomic batches.
    grouped: bool,
    /// How old an unpublished row is before a sweep takes it.
    grace: Duration,
    /// The number behind the last one of a sweep that has found rows.
    swept: Option<u64>,
    /// Since when rows have not been acknowledged.
    failing: Option<Instant>,
}

impl Relay {
    /// Makes a relay. `grouped` says whether events go in atomic batches.
    pub(crate) fn new(
        db: DatabaseConnection,
        client: Client,
        grouped: bool,
        health: Health,
    ) -> (Self, RelayHandle) {
        health.expect(OUTBOX);
        let (sender, committed) = mpsc::channel(QUEUE);
        let published = Published::default();
        let handle = RelayHandle { committed: sender, published: published.clone() };
        let in_flight = InFlight::new(client.new_inbox());
        // What an earlier run left behind goes first, whatever its age.
        let grace = Duration::ZERO;
        let relay = Self {
            db,
            client,
            health,
            committed,
            published,
            in_flight,
            ranges: Ranges::default(),
            grouped,
            grace,
            swept: None,
            failing: None,
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
        self.sweep().await;
        let (mut tick, mut look) = (tokio::time::interval(TICK), tokio::time::interval(LOOK));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(reply) = acknowledgements.next() => self.settle(reply, &mut acknowledgements).await,
                rows = self.committed.recv(), if self.in_flight.rows() < IN_FLIGHT => match rows {
                    Some(rows) => self.send_committed(rows).await,
                    None => break,
                },
                _ = tick.tick() => {
                    self.expire();
                    self.flush().await;
                }
                _ = look.tick() => self.sweep().await,
            }
        }
        while !self.in_flight.is_empty() {
            tokio::select! {
                Some(reply) = acknowledgements.next() => self.settle(reply, &mut acknowledgements).await,
                _ = tick.tick() => self.expire(),
            }
        }
        self.flush().await;
        Ok(())
    }

    /// Sends what was committed, and what has been committed meanwhile as far as it fits into one atomic batch.
    async fn send_committed(&mut self, mut rows: Vec<OutboxRow>) {
        while self.grouped && rows.len() < atomic::MOST {
            let Ok(more) = self.committed.try_recv() else { break };
            rows.extend(more);
        }
        self.send(rows).await;
    }

    async fn send(&mut self, rows: Vec<OutboxRow>) {
        for row in &rows {
            self.ranges.send(row.into());
        }
        let (events, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| self.grouped && row.is_event());
        let mut events = events.into_iter();
        loop {
            let batch: Vec<OutboxRow> = events.by_ref().take(atomic::MOST).collect();
            match batch.len() {
                0 => break,
                1..atomic::LEAST => self.send_singly(batch).await,
                _ => {
                    let ready = batch.iter().map(OutboxRow::ready).collect();
                    let reply = self.in_flight.add(Sent::Batch(batch));
                    if let Err(error) = self.send_batch(ready, reply).await {
                        tracing::warn!(%error, "could not publish a batch; will try again");
                    }
                }
            }
        }
        self.send_singly(others).await;
    }

    async fn send_batch(&self, ready: Vec<Ready>, reply: String) -> Result<(), PublishError> {
        match atomic::stage(&self.client, ready).await? {
            Some(last) => last.send(&self.client, reply).await,
            None => Ok(()),
        }
    }

    /// Sends rows one by one. What cannot be sent is never acknowledged, so that a sweep finds it.
    async fn send_singly(&mut self, rows: Vec<OutboxRow>) {
        for row in rows {
            let reply = self.in_flight.add(Sent::One((&row).into()));
            if let Err(error) = row.ready().send(&self.client, reply).await {
                tracing::warn!(message.id = %row.message_id, %error, "could not publish; will try again");
            }
        }
    }

    /// Settles an acknowledgement, and those that have come with it.
    async fn settle(&mut self, first: Message, acknowledgements: &mut Subscriber) {
        let mut marks = Marks::default();
        let mut refused = Vec::new();
        let mut next = Some(first);
        while let Some(reply) = next {
            // What has been given up meanwhile is published again, and its second acknowledgement counts.
            if let Some(sent) = self.in_flight.take(&reply) {
                match (atomic::acknowledged(&reply), sent) {
                    (Ok(_), Sent::One(row)) => self.ranges.settle(row, true, &mut marks),
                    (Ok(_), Sent::Batch(rows)) => self.settle_all(&rows, true, &mut marks),
                    (Err(refusal), Sent::Batch(rows)) => match self.refused(&refusal) {
                        true => refused.extend(rows),
                        false => self.settle_all(&rows, false, &mut marks),
                    },
                    (Err(refusal), Sent::One(row)) => {
                        tracing::warn!(outbox.row = %row.id, %refusal, "a publish was refused; will try again");
                        self.ranges.settle(row, false, &mut marks);
                        self.fail();
                    }
                }
            }
            next = acknowledgements.next().now_or_never().flatten();
        }
        self.published.add(marks);
        self.send_singly(refused).await;
        if self.swept.is_some() {
            self.sweep().await;
        }
    }

    fn settle_all(&mut self, rows: &[OutboxRow], stored: bool, marks: &mut Marks) {
        for row in rows {
            self.ranges.settle(row.into(), stored, marks);
        }
    }

    /// Returns whether a refused batch is to be sent message by message: unless the stream is not there.
    fn refused(&mut self, refusal: &Refusal) -> bool {
        match refusal.code() {
            None => {
                tracing::warn!(%refusal, "a batch was refused; will try again");
                self.fail();
                return false;
            }
            Some(ErrorCode::ATOMIC_PUBLISH_DISABLED) => {
                tracing::info!("the stream takes no batches: provision it again to let it");
                self.grouped = false;
            }
            Some(_) => tracing::debug!(%refusal, "a batch was refused; going message by message"),
        }
        true
    }

    fn expire(&mut self) {
        let missing = self.in_flight.expire(Instant::now());
        if missing.is_empty() {
            return;
        }
        tracing::warn!(missing = missing.len(), "publishes were not acknowledged in time; will try again");
        let mut marks = Marks::default();
        for row in missing {
            self.ranges.settle(row, false, &mut marks);
        }
        self.published.add(marks);
        self.fail();
    }

    fn fail(&mut self) {
        self.failing.get_or_insert_with(Instant::now);
        // What is older is not in flight any more.
        self.grace = PATIENCE;
    }

    /// Writes the marks that no batch has taken along; returns whether all are written.
    async fn flush(&self) -> bool {
        let marks = self.published.take();
        if marks.is_empty() {
            return true;
        }
        if let Err(error) = self.write(&marks).await {
            tracing::warn!(%error, "could not mark outbox rows as published; will try again");
            self.published.add(marks);
            return false;
        }
        true
    }

    async fn write(&self, marks: &Marks) -> Result<(), DbErr> {
        let tx = self.db.begin().await?;
        unpublished::mark(&tx, marks).await?;
        tx.commit().await
    }

    /// Sends rows left behind, unless those that were found before are still under way.
    async fn sweep(&mut self) {
        if self.swept.is_some_and(|end| self.in_flight.has_before(end)) {
            return;
        }
        self.swept = None;
        // A row whose mark cannot be written would be found again, and published again, without end.
        if !self.flush().await {
            return self.health.failed(OUTBOX, "what is published cannot be marked");
        }
        match unpublished::find(&self.db, OffsetDateTime::now_utc(), self.grace, SWEEP).await {
            Ok((ranges, _)) if ranges.is_empty() => {
                (self.grace, self.failing) = (GRACE, None);
                self.health.ok(OUTBOX);
            }
            // Nobody deletes the rows of a range; were they gone, it would stand before all others for ever.
            Ok((ranges, rows)) if rows.is_empty() => {
                tracing::error!(ranges = ranges.len(), "rows of the outbox are gone that were never published");
                self.published.add(Marks { over: ranges, left: Vec::new() });
            }
            Ok((_, rows)) => {
                if let Some(since) = self.failing {
                    let detail =
                        format!("{} or more rows unpublished for {} s", rows.len(), since.elapsed().as_secs());
                    self.health.failed(OUTBOX, detail);
                }
                tracing::info!(found = rows.len(), "sweeping the outbox");
                // What is on its way is not sent again before it is known what became of it.
                let rows = rows.into_iter().filter(|row| !self.ranges.contains(row.range));
                self.send(rows.collect()).await;
                self.swept = Some(self.in_flight.end());
            }
            Err(error) => self.health.failed(OUTBOX, format!("the outbox cannot be read: {error}")),
        }
    }
}
