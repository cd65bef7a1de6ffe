//! The handle of the processor and the workers to the relay: committed rows, and outcomes of publishing.

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::broker::clock;
use crate::broker::limits::{Limits, TooLarge};
use crate::outbound::outbox::OutboxRow;
use crate::outbound::outbox_pending::{self, PublishOutcomes};
use crate::state::database::{Watch, answered};
use crate::telemetry::health::Health;
use crate::telemetry::spans::Created;
use crate::wire::envelope::Outgoing;

/// The handle of the processor and the workers to the relay.
#[derive(Clone)]
pub(crate) struct RelayHandle {
    pub(crate) committed: mpsc::Sender<Vec<OutboxRow>>,
    pub(crate) published: Published,
    pub(crate) owner: Uuid,
    pub(crate) limits: Arc<Limits>,
}

impl RelayHandle {
    /// Creates the rows of messages that a handler returned.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] if one of them is larger than its stream accepts.
    pub(crate) fn rows(
        &self,
        outgoing: Vec<Outgoing>,
        source: &str,
        now: OffsetDateTime,
    ) -> Result<Vec<OutboxRow>, TooLarge> {
        let row = |message| {
            let row = OutboxRow::from_outgoing(message, source, now);
            self.limits.check(&row.subject, &row.headers, &row.body)?;
            Ok(row)
        };
        outgoing.into_iter().map(row).collect()
    }

    /// Assigns row ids and writes the rows as owned by this instance; the caller commits and then offers them.
    pub(crate) async fn insert(&self, tx: &DatabaseTransaction, rows: &mut [OutboxRow]) -> Result<(), DbErr> {
        outbox_pending::write(tx, rows, self.owner).await
    }

    /// Passes on committed rows. Never waits: the recovery scan finds rows that do not fit into the queue.
    pub(crate) fn offer(&self, rows: Vec<OutboxRow>) {
        if !rows.is_empty() && self.committed.try_send(rows).is_err() {
            tracing::debug!("the relay is behind; the recovery scan will publish the committed rows");
        }
    }

    /// Makes a row that its stream refused pending again; returns whether it was refused.
    pub(crate) async fn publish_again(&self, connection: &impl ConnectionTrait, row: Uuid) -> Result<bool, DbErr> {
        outbox_pending::publish_again(connection, row, self.owner).await
    }

    pub(crate) fn published(&self) -> &Published {
        &self.published
    }
}

/// Outcomes of publishing that are not in the database yet.
#[derive(Clone)]
pub(crate) struct Published {
    owner: Uuid,
    outcomes: Arc<Mutex<PublishOutcomes>>,
}

impl Published {
    pub(crate) fn new(owner: Uuid) -> Self {
        Self { owner, outcomes: Arc::default() }
    }

    /// Takes the outcomes, to write them in the caller's transaction.
    pub(crate) fn take(&self) -> PublishOutcomes {
        let outcomes = std::mem::take(&mut *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner));
        PublishOutcomes { owner: self.owner, ..outcomes }
    }

    /// Adds outcomes: after a publish, or after the transaction that would have written them failed.
    pub(crate) fn add(&self, more: PublishOutcomes) {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).extend(more);
    }
}

/// Publishes messages outside of message handling: the results of a worker.
#[derive(Clone)]
pub struct Outbox {
    relay: RelayHandle,
    source: String,
    health: Health,
}

impl Outbox {
    pub(crate) fn new(relay: RelayHandle, source: String, health: Health) -> Self {
        Self { relay, source, health }
    }

    /// Returns a worker's database access, with the [`Health`] part `worker/<name>`.
    #[must_use]
    pub fn watch(&self, worker: &str) -> Watch {
        Watch::new(&self.health, format!("worker/{worker}"))
    }

    /// Returns the health of the service, with parts named `<name>/<part>`, for a second connection of a worker.
    #[must_use]
    pub fn health(&self, name: &str) -> Health {
        self.health.under(name)
    }

    /// Writes messages in a transaction, commits it, and passes them to the relay.
    ///
    /// The ids of the messages derive from their causes, so that a worker that repeats its work after a crash publishes
    /// messages with the same ids.
    ///
    /// # Errors
    ///
    /// The database's error, or that a message is larger than its stream accepts; then nothing is written or published.
    /// The same holds if the database has not responded within 10 s, unless it was the response to the commit. Repeat
    /// the work then: the next commit or the recovery scan publishes.
    pub async fn commit(&self, tx: DatabaseTransaction, mut outgoing: Vec<Outgoing>) -> Result<(), DbErr> {
        let created = Created::of(&mut outgoing);
        let rows = self.relay.rows(outgoing, &self.source, clock::now());
        let mut rows = rows.map_err(|error| DbErr::Custom(error.to_string()))?;
        let writing = async {
            self.relay.insert(&tx, &mut rows).await?;
            tx.commit().await
        };
        answered(writing).await?;
        created.committed();
        self.relay.offer(rows);
        Ok(())
    }
}
