//! The relay's recovery: rows read from the database instead of memory, and the reports on the outbox.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, TransactionTrait};
use tokio::time::Instant;
use uuid::Uuid;

use super::{OUTBOX, Relay};
use crate::broker::clock;
use crate::outbound::outbox;
use crate::outbound::outbox_pending;
use crate::outbound::owner;
use crate::state::database::answered_within;
use crate::wire::envelope::unix_millis;

/// The maximum number of rows that the recovery scan reads at a time. It waits until as many may be published.
pub(super) const MAX_SCANNED: usize = 2048;
/// The time limit of a database access.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);

impl Relay {
    /// Takes over batches without an owner: on SQLite all batches, since its file belongs to one process.
    pub(super) async fn adopt_at_start(&self) -> Result<(), DbErr> {
        within(async {
            let tx = self.db.begin().await?;
            if tx.get_database_backend() == DbBackend::Sqlite {
                owner::leave_all(&tx).await?;
            }
            owner::beat(&tx, self.owner).await?;
            owner::adopt(&tx, self.owner, None).await?;
            tx.commit().await
        })
        .await
    }

    /// Writes the beat, takes over batches of instances that are gone, and begins a round of the scan.
    pub(super) async fn start_round(&mut self) {
        self.refusals.forget(Instant::now());
        if !self.adopted {
            if let Err(error) = self.adopt_at_start().await {
                return self.report_trouble(format!("the outbox cannot be read: {error}")).await;
            }
            self.adopted = true;
        }
        let busy = self.busy || !self.in_flight.is_empty() || !self.refusals.is_empty();
        let examined = async {
            if busy {
                owner::beat(&self.db, self.owner).await?;
            }
            self.owners.take_over(&self.db, self.owner, clock::now()).await
        };
        match within(examined).await {
            Ok(0) => self.busy = false,
            Ok(batches) => {
                tracing::info!(
                    batches,
                    "pending batches without a living owner were taken over and will be published"
                );
            }
            Err(error) => return self.report_trouble(format!("the outbox cannot be read: {error}")).await,
        }
        if self.is_connected() {
            self.scan.wake();
        }
        if !self.scan.is_recovering() && self.recovered.is_none() {
            self.report().await;
        }
    }

    /// Publishes the next part of the recovery scan.
    pub(super) async fn continue_scan(&mut self) {
        // A row whose outcome cannot be written would be found and published again, endlessly.
        if !self.flush().await {
            return self.scan.pause();
        }
        let wanted = self.scan.wanted(clock::now());
        let found = match within(outbox_pending::find(&self.db, wanted, MAX_SCANNED as u128)).await {
            Ok(found) => found,
            Err(error) => {
                self.scan.pause();
                return self.report_trouble(format!("the outbox cannot be read: {error}")).await;
            }
        };
        self.trouble = None;
        let Some(last) = found.last else {
            if self.scan.is_recovering() {
                self.recovered = Some(self.in_flight.end());
            }
            return self.scan.end();
        };
        self.delete_without_rows(found.empty).await;
        // Batches in flight are not published again before their outcome is known.
        let rows = found.rows.into_iter().filter(|row| !self.batches.contains(row.batch));
        let late = unix_millis(clock::now() - self.late_after);
        let rows: Vec<_> =
            rows.map(|row| if outbox::written_at(row.row_id) < late { row.republished() } else { row }).collect();
        tracing::debug!(found = rows.len(), "the recovery scan found pending messages");
        let sent = self.send(rows).await;
        self.scan.examined(last, sent);
    }

    /// Deletes pending batches whose outbox rows were deleted.
    pub(super) async fn delete_without_rows(&mut self, batches: Vec<Uuid>) {
        if batches.is_empty() {
            return;
        }
        match within(outbox_pending::delete_without_rows(&self.db, batches)).await {
            Ok(0) => {}
            Ok(batches) => {
                tracing::error!(batches, "outbox rows were deleted before they were published; they are lost")
            }
            Err(error) => self.report_trouble(format!("the outbox cannot be read: {error}")).await,
        }
    }

    pub(super) async fn report_trouble(&mut self, trouble: String) {
        self.trouble = Some(trouble);
        self.report().await;
    }

    /// Reports the state of the outbox to readiness.
    pub(super) async fn report(&mut self) {
        if let Some(trouble) = &self.trouble {
            return self.health.failed(OUTBOX, trouble.as_str());
        }
        if !self.refusals.is_empty() {
            return self.health.failed(OUTBOX, self.refusals.describe(Instant::now()));
        }
        match within(outbox_pending::unpublishable(&self.db)).await {
            Ok(0) => self.health.ok(OUTBOX),
            Ok(count) => self.health.note(
                OUTBOX,
                format!("{count} unpublishable messages: repair the cause and redrive their dead letters"),
            ),
            Err(error) => self.health.failed(OUTBOX, format!("the outbox cannot be read: {error}")),
        }
    }
}

/// Limits the time of a database access.
pub(super) async fn within<T>(access: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    answered_within(DATABASE_TIMEOUT, access).await
}
