//! The missing-account worker decides on payments that are due without a copy of the account.
//!
//! The stream, a rebuild, or a query may deliver the copy; this worker finds it. A payment that has reached its time
//! limit is declined.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::Client;
use choreography::connection::NatsOptions;
use choreography::database::Watch;
use choreography::{Outbox, Outgoing, connection};
use contracts::topology::PAYMENT_SERVICE;
use contracts::{CustomerId, OrderId};
use futures::StreamExt;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{begin, is_due};
use crate::entity::account_copy;
use crate::entity::payment::{Column, Entity, Status, due};
use crate::handler::outgoing_of;
use crate::payment::Policy;
use crate::unit_of_work;
use crate::{accounts, rebuild, row};

/// The number of payments per transaction.
const BATCH: u64 = 256;
/// The number of concurrent queries.
const CONCURRENT: usize = 8;
/// The longest interval between two polls.
const TICK: Duration = Duration::from_secs(1);
/// The shortest interval between two polls.
const PAUSE: Duration = Duration::from_millis(50);

/// Decides on payments whose account is missing.
pub struct MissingAccountWorker {
    /// The service's database.
    pub db: DatabaseConnection,
    /// The time limits of payments.
    pub policy: Policy,
    /// The clock of due times.
    pub clock: fn() -> OffsetDateTime,
    /// The server for account queries; `None` if they are disabled.
    pub fetch: Option<NatsOptions>,
    /// Changes when a payment may be decided.
    pub wake: watch::Receiver<()>,
    /// Wakes the capture worker.
    pub decided: watch::Sender<()>,
}

impl MissingAccountWorker {
    /// Runs until `stop` is cancelled.
    ///
    /// # Errors
    ///
    /// If the address of nats-server is invalid. Other errors are logged, and the work is retried.
    pub async fn run(mut self, outbox: Outbox, stop: CancellationToken) -> anyhow::Result<()> {
        let watch = outbox.watch("accounts");
        let client = match &self.fetch {
            // A separate connection, because the library owns the service's connection.
            Some(options) => Some(connection::connect(options, PAYMENT_SERVICE, &outbox.health("accounts")).await?),
            None => None,
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Ok(()) = self.wake.changed() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            // Readiness and the log have the error; the next poll retries.
            if let Ok(true) = self.poll(&outbox, client.as_ref(), &watch).await {
                self.decided.send_replace(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Decides on the payments that can be decided; returns whether there were any.
    async fn poll(&self, outbox: &Outbox, client: Option<&Client>, watch: &Watch) -> anyhow::Result<bool> {
        let (orders, customers) = watch.answered(self.decidable()).await?;
        if orders.is_empty() {
            return Ok(false);
        }
        if let Some(client) = client {
            self.fetch_missing(client, &customers, watch).await?;
        }
        watch.answered(self.decide(&orders, outbox)).await?;
        Ok(true)
    }

    /// Decides on payments in one transaction.
    async fn decide(&self, orders: &BTreeSet<OrderId>, outbox: &Outbox) -> anyhow::Result<()> {
        let now = (self.clock)();
        let tx = begin(&self.db).await?;
        let mut aggregates = unit_of_work::load_orders(&tx, orders).await?;
        let mut outgoing: Vec<Outgoing> = Vec::new();
        for order_id in orders {
            let decided = aggregates.recheck(order_id, now, &self.policy);
            outgoing.extend(decided.map(outgoing_of).transpose()?);
        }
        unit_of_work::save(&tx, &aggregates).await?;
        Ok(outbox.commit(tx, outgoing).await?)
    }

    /// The payments whose account has a copy now, or that are due.
    async fn decidable(&self) -> anyhow::Result<(BTreeSet<OrderId>, BTreeSet<CustomerId>)> {
        let copy = Query::select()
            .expr(Expr::value(1))
            .from(account_copy::Entity)
            .and_where(
                Expr::col((account_copy::Entity, account_copy::Column::CustomerId))
                    .equals((Entity, Column::CustomerId)),
            )
            .to_owned();
        let is_due = is_due((self.clock)(), self.policy.account_wait);
        let rows = Entity::find()
            .filter(Column::Status.eq(Status::AwaitingAccount))
            .filter(due().is_not_null())
            .filter(is_due.add(Expr::exists(copy)))
            .order_by_asc(due())
            .limit(BATCH)
            .all(&self.db)
            .await?;
        let (mut orders, mut customers) = (BTreeSet::new(), BTreeSet::new());
        for row in rows {
            let (order_id, payment) = row::to_payment(row)?;
            orders.insert(order_id);
            customers.extend(payment.charge.map(|charge| charge.customer_id));
        }
        Ok((orders, customers))
    }

    /// Queries the missing accounts. A payment does not repeat a query that failed.
    async fn fetch_missing(
        &self,
        client: &Client,
        customers: &BTreeSet<CustomerId>,
        watch: &Watch,
    ) -> anyhow::Result<()> {
        let known = watch.answered(accounts::load(&self.db, customers)).await?;
        let mut missing = customers.clone();
        missing.retain(|customer_id| !known.contains_key(customer_id));
        let replies = futures::stream::iter(missing)
            .map(|customer_id| async move { (rebuild::query_account(client, &customer_id).await, customer_id) })
            .buffer_unordered(CONCURRENT);
        let found: Vec<_> = replies
        .filter_map(|(reply, customer_id)| async move {
        match reply {
                    Ok(account) => account.map(|account| (customer_id, account)),
                    Err(error) => {
                        tracing::warn!(customer.id = %customer_id, error = format!("{error:#}"), "the query failed");
                        None
                    }
                }
            })
            .collect()
            .await;
        watch.answered(accounts::apply(&self.db, found)).await
    }
}
