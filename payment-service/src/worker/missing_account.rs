//! Looks after payments that are due and whose account is not known.
//!
//! A copy may come by the stream, from a rebuild, or from asking for it; wherever from, it is found here. A payment
//! that has waited for as long as it may is declined.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::Client;
use contracts::{CustomerId, OrderId};
use futures::StreamExt;
use messaging::database::Watch;
use messaging::{Outbox, Outgoing};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{begin, time_has_come};
use crate::entity::account_copy;
use crate::entity::payment::{Column, Entity, Status, due};
use crate::handler::outgoing_of;
use crate::payment::Policy;
use crate::unit_of_work::UnitOfWork;
use crate::{accounts, rebuild, row};

/// Payments decided at a time.
const BATCH: u64 = 256;
/// Accounts asked for at the same time.
const CONCURRENT: usize = 8;
/// How often to look.
const TICK: Duration = Duration::from_secs(1);
/// The shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks after payments whose account is not known.
pub struct MissingAccountWorker {
    /// The service's database.
    pub db: DatabaseConnection,
    /// How long to wait for what.
    pub policy: Policy,
    /// The time.
    pub clock: fn() -> OffsetDateTime,
    /// Through which to ask for accounts; none where that is off.
    pub fetch: Option<Client>,
    /// Changes when there may be something to do.
    pub wake: watch::Receiver<()>,
    /// Changed when there may be something to ask the provider.
    pub decided: watch::Sender<()>,
}

impl MissingAccountWorker {
    /// Runs until `stop` is cancelled.
    ///
    /// # Errors
    ///
    /// None: what goes wrong is logged, and tried again.
    pub async fn run(mut self, outbox: Outbox, stop: CancellationToken) -> anyhow::Result<()> {
        let watch = outbox.watch("accounts");
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Ok(()) = self.wake.changed() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            // Readiness and the log have the error, and the next look tries again.
            if let Ok(true) = self.look(&outbox, &watch).await {
                self.decided.send_replace(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Decides what can be decided; returns whether there was something.
    async fn look(&self, outbox: &Outbox, watch: &Watch) -> anyhow::Result<bool> {
        let (orders, customers) = watch.answered(self.found()).await?;
        if orders.is_empty() {
            return Ok(false);
        }
        if let Some(client) = &self.fetch {
            self.fetch_missing(client, &customers, watch).await?;
        }
        watch.answered(self.decide(&orders, outbox)).await?;
        Ok(true)
    }

    /// Decides payments in one transaction.
    async fn decide(&self, orders: &BTreeSet<OrderId>, outbox: &Outbox) -> anyhow::Result<()> {
        let now = (self.clock)();
        let tx = begin(&self.db).await?;
        let mut unit_of_work = UnitOfWork::of(&tx, orders).await?;
        let mut outgoing: Vec<Outgoing> = Vec::new();
        for order_id in orders {
            let decided = unit_of_work.aggregates.recheck(order_id, now, &self.policy);
            outgoing.extend(decided.map(outgoing_of).transpose()?);
        }
        unit_of_work.save(&tx).await?;
        Ok(outbox.commit(tx, outgoing).await?)
    }

    /// The payments whose account is known by now, or whose time has come.
    async fn found(&self) -> anyhow::Result<(BTreeSet<OrderId>, BTreeSet<CustomerId>)> {
        let copy = Query::select()
            .expr(Expr::value(1))
            .from(account_copy::Entity)
            .and_where(
                Expr::col((account_copy::Entity, account_copy::Column::CustomerId))
                    .equals((Entity, Column::CustomerId)),
            )
            .to_owned();
        let time_has_come = time_has_come((self.clock)(), self.policy.account_wait);
        let rows = Entity::find()
            .filter(Column::Status.eq(Status::AwaitingAccount))
            .filter(due().is_not_null())
            .filter(time_has_come.add(Expr::exists(copy)))
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

    /// Asks for the accounts that are not known. Who does not answer is not asked again by the same payment.
    async fn fetch_missing(
        &self,
        client: &Client,
        customers: &BTreeSet<CustomerId>,
        watch: &Watch,
    ) -> anyhow::Result<()> {
        let known = watch.answered(accounts::load(&self.db, customers)).await?;
        let mut missing = customers.clone();
        missing.retain(|customer_id| !known.contains_key(customer_id));
        let answers = futures::stream::iter(missing)
            .map(|customer_id| async move { (rebuild::ask(client, &customer_id).await, customer_id) })
            .buffer_unordered(CONCURRENT);
        let found: Vec<_> = answers
            .filter_map(|(answer, customer_id)| async move {
                match answer {
                    Ok(account) => account.map(|account| (customer_id, account)),
                    Err(error) => {
                        tracing::warn!(customer.id = %customer_id, error = format!("{error:#}"), "no account");
                        None
                    }
                }
            })
            .collect()
            .await;
        watch.answered(accounts::apply(&self.db, found)).await
    }
}
