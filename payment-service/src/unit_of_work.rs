//! The unit of work: loads and locks the aggregates that a batch needs, and saves the changed ones.
//!
//! # Two instances on one database
//!
//! On PostgreSQL every transaction takes its locks in one order: the rows of `payments` by order, then those of
//! `exposures` by customer and currency. A missing row is inserted first, because only an existing row can be locked;
//! the second transaction waits for the first one's commit and then sees its row. The copies of accounts are read only
//! after those locks, and written by single statements that never overwrite a newer version. SQLite has one writer at a
//! time, so nothing is inserted first.

use std::collections::{BTreeMap, BTreeSet};

use choreography::spans;
use choreography::{Envelope, statement};
use contracts::{CustomerId, OrderId};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, Iterable, QueryFilter,
    QueryOrder, QuerySelect,
};
use time::OffsetDateTime;

use crate::accounts;
use crate::entity::{exposure, payment};
use crate::payment::{Aggregates, Payment, PaymentMessage};
use crate::row;

/// The aggregates that a batch needs.
#[derive(Debug)]
pub struct UnitOfWork {
    /// The loaded state.
    before: Aggregates,
    /// The current state.
    pub aggregates: Aggregates,
}

impl UnitOfWork {
    /// Loads the aggregates that the messages need, and locks them until the transaction ends.
    ///
    /// # Errors
    ///
    /// The database's error, or [`DbErr::Custom`] if a row is invalid.
    pub async fn load(
        tx: &DatabaseTransaction,
        batch: &[&Envelope<PaymentMessage>],
        now: OffsetDateTime,
    ) -> Result<Self, DbErr> {
        let mut requested: BTreeMap<&OrderId, Payment> = BTreeMap::new();
        for message in batch {
            if let Some(order_id) = message.payload.order_id() {
                requested.entry(order_id).or_insert_with(|| Payment::unknown(message.correlation_id, now));
            }
        }
        if locks_rows(tx) {
            let new = requested.iter().map(|(order_id, payment)| row::of_payment(order_id, payment)).collect();
            let keep = OnConflict::column(payment::Column::OrderId).do_nothing().to_owned();
            statement::insert(tx, new, Some(keep)).await?;
        }
        let order_ids: Vec<&OrderId> = requested.keys().copied().collect();
        let found = lock_payments(tx, &order_ids).await?;
        let mut payments: BTreeMap<OrderId, Payment> =
            requested.into_iter().map(|(order_id, payment)| (order_id.clone(), payment)).collect();
        payments.extend(found);
        let customers = customers_of(&payments, batch);
        Self::with(tx, payments, customers).await
    }

    /// Loads some payments with their accounts and exposures, and locks them until the transaction ends.
    ///
    /// # Errors
    ///
    /// As [`UnitOfWork::load`].
    pub async fn of(tx: &DatabaseTransaction, order_ids: &BTreeSet<OrderId>) -> Result<Self, DbErr> {
        let order_ids: Vec<&OrderId> = order_ids.iter().collect();
        let payments = lock_payments(tx, &order_ids).await?;
        let customers = customers_of(&payments, &[]);
        Self::with(tx, payments, customers).await
    }

    async fn with(
        tx: &DatabaseTransaction,
        payments: BTreeMap<OrderId, Payment>,
        customers: BTreeSet<(CustomerId, &'static str)>,
    ) -> Result<Self, DbErr> {
        let mut aggregates = Aggregates { payments, ..Aggregates::default() };
        aggregates.exposures = lock_exposures(tx, &customers).await?;
        let customer_ids: BTreeSet<CustomerId> =
            customers.into_iter().map(|(customer_id, _)| customer_id).collect();
        aggregates.accounts = accounts::load(tx, &customer_ids).await?;
        Ok(Self { before: aggregates.clone(), aggregates })
    }

    /// Returns a report if an alarm, or failures of the provider, began or ended at a payment.
    pub(crate) fn report(&self, order_id: &OrderId) -> Option<Report> {
        let (before, after) = (self.before.payments.get(order_id)?, self.aggregates.payments.get(order_id)?);
        let alarm = after.alarm_since.is_some() && before.alarm_since.is_none();
        let changed = before.provider_answer.is_some() != after.provider_answer.is_some();
        (alarm || changed).then(|| Report {
            order_id: order_id.clone(),
            alarm,
            answer: after.provider_answer.clone(),
            trace_parent: after.trace_parent.clone(),
        })
    }

    /// Writes the changed rows.
    ///
    /// # Errors
    ///
    /// The database's error.
    pub async fn save(self, tx: &DatabaseTransaction) -> Result<(), DbErr> {
        let Self { before, aggregates } = self;
        let changed = aggregates.payments.iter().filter(|(id, payment)| before.payments.get(*id) != Some(*payment));
        let rows = changed.map(|(order_id, payment)| row::of_payment(order_id, payment)).collect();
        let columns: Vec<_> = payment::Column::iter().skip(1).collect();
        statement::insert(tx, rows, Some(statement::overwrite(&[payment::Column::OrderId], &columns))).await?;

        let changed =
            aggregates.exposures.iter().filter(|(key, amount)| before.exposures.get(*key) != Some(*amount));
        let rows = changed.map(|(key, amount)| exposure_row(key, *amount)).collect();
        let key = [exposure::Column::CustomerId, exposure::Column::Currency];
        statement::insert(tx, rows, Some(statement::overwrite(&key, &[exposure::Column::Amount]))).await
    }
}

/// A change of a payment at the provider, for the operator.
#[derive(Debug)]
pub struct Report {
    order_id: OrderId,
    alarm: bool,
    answer: Option<String>,
    trace_parent: Option<String>,
}

impl Report {
    /// Logs the change.
    pub(crate) fn log(&self) {
        let Self { order_id, alarm, answer, trace_parent } = self;
        let answer = answer.as_deref().unwrap_or_default();
        let trace = spans::trace_id(trace_parent.as_deref());
        if *alarm {
            tracing::error!(
                order.id = %order_id,
                trace.id = trace,
                answer,
                "the payment provider refuses a request, or its content differs from the payment; the service waits \
                 for an operator: use payment-service retry or dismiss"
            );
        } else if answer.is_empty() {
            tracing::info!(order.id = %order_id, trace.id = trace, "the payment provider has responded");
        } else {
            tracing::warn!(
                order.id = %order_id,
                trace.id = trace,
                answer,
                "the payment provider has not responded; payment-service repeats the request"
            );
        }
    }
}

/// Returns the customers and currencies whose exposures the payments may change.
///
/// A payment can become due only if its stock is reserved.
fn customers_of(
    payments: &BTreeMap<OrderId, Payment>,
    batch: &[&Envelope<PaymentMessage>],
) -> BTreeSet<(CustomerId, &'static str)> {
    let mut reserved: BTreeSet<&OrderId> = BTreeSet::new();
    let mut charges = BTreeMap::new();
    for message in batch {
        match &message.payload {
            PaymentMessage::Reserved(stock) => {
                reserved.insert(&stock.order_id);
            }
            PaymentMessage::Placed(order) => {
                charges.insert(&order.order_id, (order.customer_id.clone(), order.currency.code()));
            }
            _ => {}
        }
    }
    for (order_id, payment) in payments {
        if payment.reserved.is_some() {
            reserved.insert(order_id);
        }
        if let Some(charge) = &payment.charge {
            charges.insert(order_id, (charge.customer_id.clone(), charge.currency.code()));
        }
    }
    charges.into_iter().filter(|(order_id, _)| reserved.contains(order_id)).map(|(_, customer)| customer).collect()
}

/// Returns whether the database locks rows, which must exist for that.
fn locks_rows(tx: &DatabaseTransaction) -> bool {
    tx.get_database_backend() != DbBackend::Sqlite
}

async fn lock_payments(
    tx: &DatabaseTransaction,
    order_ids: &[&OrderId],
) -> Result<BTreeMap<OrderId, Payment>, DbErr> {
    let order_ids: Vec<String> = order_ids.iter().map(ToString::to_string).collect();
    let mut payments = BTreeMap::new();
    for chunk in statement::padded_chunks(&order_ids) {
        let rows = payment::Entity::find()
            .filter(payment::Column::OrderId.is_in(chunk))
            .order_by_asc(payment::Column::OrderId)
            .lock_exclusive()
            .all(tx)
            .await?;
        for row in rows {
            let (order_id, payment) = row::to_payment(row)?;
            payments.insert(order_id, payment);
        }
    }
    Ok(payments)
}

async fn lock_exposures(
    tx: &DatabaseTransaction,
    keys: &BTreeSet<(CustomerId, &'static str)>,
) -> Result<BTreeMap<(CustomerId, &'static str), i64>, DbErr> {
    if locks_rows(tx) {
        let new = keys.iter().map(|key| exposure_row(key, 0)).collect();
        let key = [exposure::Column::CustomerId, exposure::Column::Currency];
        statement::insert(tx, new, Some(OnConflict::columns(key).do_nothing().to_owned())).await?;
    }
    let customer_ids: BTreeSet<String> = keys.iter().map(|(customer_id, _)| customer_id.to_string()).collect();
    let customer_ids: Vec<String> = customer_ids.into_iter().collect();
    let mut exposures: BTreeMap<_, _> = keys.iter().map(|key| (key.clone(), 0)).collect();
    for chunk in statement::padded_chunks(&customer_ids) {
        let rows = exposure::Entity::find()
            .filter(exposure::Column::CustomerId.is_in(chunk))
            .order_by_asc(exposure::Column::CustomerId)
            .order_by_asc(exposure::Column::Currency)
            .lock_exclusive()
            .all(tx)
            .await?;
        for row in rows {
            let currency = row::currency_of(&row.currency)?.code();
            let customer_id = CustomerId::parse(row.customer_id).map_err(row::invalid_row)?;
            exposures.insert((customer_id, currency), row.amount);
        }
    }
    Ok(exposures)
}

fn exposure_row((customer_id, currency): &(CustomerId, &'static str), amount: i64) -> exposure::ActiveModel {
    exposure::ActiveModel {
        customer_id: Set(customer_id.to_string()),
        currency: Set((*currency).to_owned()),
        amount: Set(amount),
    }
}
