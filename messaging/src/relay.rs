//! The relay: publishes what transactions committed, and marks it once the stream has it.
//!
//! The hot path takes rows from memory, right behind their commit. What it misses (a crash, a full queue, a publish
//! that failed) a sweep finds: all of it at start, and by timer whatever is older than a grace time. A sweep asks for
//! unpublished rows and never for rows behind a cursor, because writers commit out of order. Marks of what has been
//! published ride along in the next batch's transaction; when no batch comes they are written on their own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use sea_orm::DatabaseConnection;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::envelope::unix_millis;
use crate::health::Health;
use crate::outbox::{self, OutboxRow};

/// The part of [`Health`] that says whether the outbox drains.
pub(crate) const OUTBOX: &str = "outbox";

/// Batches waiting to be published, and batches waiting for their acknowledgements.
const QUEUE: usize = 64;
/// Rows a sweep takes at a time.
const SWEEP: u64 = 1000;
/// How long after it was sent a batch may wait for its acknowledgements, all of them together: those that a server took
/// to its grave never come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the relay looks for marks to write and rows left behind.
const TICK: Duration = Duration::from_millis(500);
/// How old an unpublished row is before a sweep takes it: longer than [`PATIENCE`].
const GRACE: Duration = Duration::from_secs(10);

/// What was sent, and until when its acknowledgements may come.
struct Sent {
    acknowledgements: Vec<(Uuid, PublishAckFuture)>,
    deadline: Instant,
}

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

/// Rows that the stream has acknowledged and the table does not know of yet.
#[derive(Clone, Default)]
pub(crate) struct Published {
    row_ids: Arc<Mutex<Vec<Uuid>>>,
}

impl Published {
    /// Takes at most `limit` marks to write in the caller's transaction.
    pub(crate) fn take(&self, limit: usize) -> Vec<Uuid> {
        let mut row_ids = self.row_ids.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = row_ids.len().saturating_sub(limit);
        row_ids.split_off(keep)
    }

    /// Adds marks: after a publish, or after the transaction that would have written them failed.
    pub(crate) fn add(&self, more: Vec<Uuid>) {
        self.row_ids.lock().unwrap_or_else(PoisonError::into_inner).extend(more);
    }
}

pub(crate) struct Relay {
    db: DatabaseConnection,
    js: jetstream::Context,
    health: Health,
    committed: mpsc::Receiver<Vec<OutboxRow>>,
    published: Published,
    /// Since when sweeps have found rows that they could not publish.
    oldest_failure: Option<Instant>,
}

impl Relay {
    pub(crate) fn new(db: DatabaseConnection, js: jetstream::Context, health: Health) -> (Self, RelayHandle) {
        health.expect(OUTBOX);
        let (sender, committed) = mpsc::channel(QUEUE);
        let published = Published::default();
        let handle = RelayHandle { committed: sender, published: published.clone() };
        (Self { db, js, health, committed, published, oldest_failure: None }, handle)
    }

    /// Runs until the processor's end is dropped, then publishes what is left and writes the last marks.
    pub(crate) async fn run(mut self) {
        let (in_flight, acknowledgements) = mpsc::channel(QUEUE);
        let collector = tokio::spawn(collect(acknowledgements, self.published.clone()));
        // What an earlier run left behind goes first, whatever its age.
        let mut swept = self.sweep(Duration::ZERO).await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = self.committed.recv() => {
                    let Some(rows) = batch else { break };
                    let sent = self.send(rows).await;
                    if in_flight.send(sent).await.is_err() {
                        break;
                    }
                }
                _ = tick.tick() => {
                    self.flush().await;
                    let grace = if swept { GRACE } else { Duration::ZERO };
                    swept = self.sweep(grace).await;
                }
            }
        }
        drop(in_flight);
        if let Err(error) = collector.await {
            tracing::error!(%error, "the collector of publish acknowledgements failed");
        }
        self.flush().await;
    }

    /// Sends a batch; the acknowledgements are awaited elsewhere, so that batches overlap.
    async fn send(&self, rows: Vec<OutboxRow>) -> Sent {
        let mut acknowledgements = Vec::with_capacity(rows.len());
        for row in rows {
            let message = PublishMessage::build().headers(row.header_map()).payload(row.body);
            match self.js.send_publish(row.subject, message).await {
                Ok(acknowledgement) => acknowledgements.push((row.row_id, acknowledgement)),
                Err(error) => {
                    tracing::warn!(message.id = %row.message_id, %error, "could not publish; will try again");
                }
            }
        }
        Sent { acknowledgements, deadline: Instant::now() + PATIENCE }
    }

    /// Writes the marks that no batch has taken along; returns whether all are written.
    async fn flush(&self) -> bool {
        loop {
            let marks = self.published.take(SWEEP as usize);
            if marks.is_empty() {
                return true;
            }
            if let Err(error) = outbox::mark_published(&self.db, &marks, now()).await {
                tracing::warn!(%error, "could not mark outbox rows as published; will try again");
                self.published.add(marks);
                return false;
            }
        }
    }

    /// Publishes rows left behind that are older than `grace`; returns whether none is left.
    async fn sweep(&mut self, grace: Duration) -> bool {
        loop {
            // A row whose mark cannot be written would be found again, and published again, without end.
            if !self.flush().await {
                self.health.failed(OUTBOX, "what is published cannot be marked");
                return false;
            }
            let rows = match outbox::unpublished(&self.db, OffsetDateTime::now_utc(), grace, SWEEP).await {
                Ok(rows) => rows,
                Err(error) => {
                    self.health.failed(OUTBOX, format!("the outbox cannot be read: {error}"));
                    return false;
                }
            };
            if rows.is_empty() {
                self.oldest_failure = None;
                self.health.ok(OUTBOX);
                return true;
            }
            let found = rows.len();
            let (sender, acknowledgements) = mpsc::channel(1);
            let collector = tokio::spawn(collect(acknowledgements, self.published.clone()));
            let sent = self.send(rows).await;
            // The receiver lives in the task just spawned, and ends after the sender is dropped.
            let _ = sender.send(sent).await;
            drop(sender);
            let acknowledged = collector.await.unwrap_or(0);
            tracing::info!(found, acknowledged, "swept the outbox");
            if acknowledged < found {
                let since = *self.oldest_failure.get_or_insert_with(Instant::now);
                let left = found - acknowledged;
                let detail = format!("{left} or more rows unpublished for {} s", since.elapsed().as_secs());
                self.health.failed(OUTBOX, detail);
                return false;
            }
        }
    }
}

/// Awaits acknowledgements in the order of sending and notes what the streams have; returns how many.
async fn collect(mut batches: mpsc::Receiver<Sent>, published: Published) -> usize {
    let mut total = 0;
    while let Some(Sent { acknowledgements, deadline }) = batches.recv().await {
        let mut acknowledged = Vec::with_capacity(acknowledgements.len());
        let mut missing = 0;
        for (row_id, acknowledgement) in acknowledgements {
            // The client's own time-out begins when an acknowledgement is awaited, so one behind the other they would
            // add up. Those that are there are taken even after the deadline.
            match tokio::time::timeout_at(deadline, acknowledgement.into_future()).await {
                Ok(Ok(_)) => acknowledged.push(row_id),
                Ok(Err(error)) => {
                    tracing::warn!(outbox.row = %row_id, %error, "a publish was refused; will try again");
                }
                Err(_) => missing += 1,
            }
        }
        if missing > 0 {
            tracing::warn!(missing, "publishes were not acknowledged in time; will try again");
        }
        total += acknowledged.len();
        published.add(acknowledged);
    }
    total
}

fn now() -> i64 {
    unix_millis(OffsetDateTime::now_utc())
}
