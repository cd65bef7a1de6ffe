//! Wakes the connections of customers with new notifications.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use choreography::database::Watch;
use choreography::service::Worker;
use contracts::CustomerId;
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::entity::{counter, notification};

/// The number of notifications per read.
const BATCH: u64 = 1000;
/// The poll interval without a commit of this instance: another instance may have committed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Wakes the connections of customers with new notifications, and no others.
#[derive(Debug, Clone, Default)]
pub struct News {
    customers: Arc<Mutex<HashMap<CustomerId, watch::Sender<()>>>>,
}

impl News {
    /// Returns a receiver that changes with each new notification of the customer.
    pub(super) fn subscribe(&self, customer_id: &CustomerId) -> watch::Receiver<()> {
        let mut customers = self.customers.lock().unwrap_or_else(PoisonError::into_inner);
        // Removes customers without a connection, so that there are at most as many as connections.
        customers.retain(|_, sender| sender.receiver_count() > 0);
        customers.entry(customer_id.clone()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    fn notify(&self, customer_ids: &[String]) {
        let customers = self.customers.lock().unwrap_or_else(PoisonError::into_inner);
        for customer_id in customer_ids {
            if let Ok(customer_id) = CustomerId::parse(customer_id)
                && let Some(sender) = customers.get(&customer_id)
            {
                sender.send_replace(());
            }
        }
    }

    /// Returns the worker that polls for new notifications after each commit, until shutdown.
    #[must_use]
    pub fn worker(self, db: DatabaseConnection, committed: watch::Receiver<()>) -> Worker {
        Box::new(move |outbox, shutdown| {
            Box::pin(async move {
                self.run(db, outbox.watch("live"), committed, shutdown).await;
                Ok(())
            })
        })
    }

    /// Polls for new notifications after each commit, until shutdown.
    pub async fn run(
        self,
        db: DatabaseConnection,
        watch: Watch,
        mut committed: watch::Receiver<()>,
        shutdown: CancellationToken,
    ) {
        let mut position = None;
        loop {
            // Readiness and the log have the error; the next poll retries.
            if let Ok(end) = watch.answered(self.poll(&db, position)).await {
                position = Some(end);
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = committed.changed() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Wakes the customers of the notifications after a position, and returns the last sequence. The first poll only
    /// determines the position: a client that connects before it reads the table afterwards.
    async fn poll(&self, db: &DatabaseConnection, position: Option<i64>) -> Result<i64, DbErr> {
        use notification::Column as Notification;
        let Some(mut position) = position else { return counter::last(db).await };
        loop {
            let rows: Vec<(i64, String)> = notification::Entity::find()
                .select_only()
                .columns([Notification::Sequence, Notification::CustomerId])
                .filter(Notification::Sequence.gt(position))
                .order_by_asc(Notification::Sequence)
                .limit(BATCH)
                .into_tuple()
                .all(db)
                .await?;
            let Some((last, _)) = rows.last() else { return Ok(position) };
            position = *last;
            let full = rows.len() as u64 == BATCH;
            let customer_ids: Vec<String> = rows.into_iter().map(|(_, customer_id)| customer_id).collect();
            self.notify(&customer_ids);
            if !full {
                return Ok(position);
            }
        }
    }
}
