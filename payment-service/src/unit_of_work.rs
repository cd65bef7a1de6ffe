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

use choreography::statement::invalid_row;
use choreography::{Envelope, Tracked, spans, statement};
use contracts::{CustomerId, OrderId};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::accounts;
use crate::entity::{exposure, payment};
use crate::payment::{Aggregates, Payment, PaymentMessage};
use crate::row;

/// Loads the aggregates that the messages need, and locks them until the transaction ends.
///
/// # Errors
///
/// The database's error, or [`DbErr::Custom`] if a row is invalid.
pub async fn load(
    tx: &DatabaseTransaction,
    batch: &[&Envelope<PaymentMessage>],
    now: OffsetDateTime,
) -> Result<Aggregates, DbErr> {
    let mut requested: BTreeMap<&OrderId, Uuid> = BTreeMap::new();
    for message in batch {
        if let Some(order_id) = message.payload.order_id() {
            requested.entry(order_id).or_insert(message.correlation_id);
        }
    }
    if locks_rows(tx) {
        let new = requested.iter().map(|(order_id, flow)| row::of_payment(order_id, &Payment::unknown(*flow, now)));
        let keep = OnConflict::column(payment::Column::OrderId).do_nothing().to_owned();
        statement::insert(tx, new.collect(), Some(keep)).await?;
    }
    load_with(tx, requested.into_keys(), batch).await
}

/// Loads some payments with their accounts and exposures, and locks them until the transaction ends.
///
/// # Errors
///
/// As [`load`].
pub async fn load_orders(tx: &DatabaseTransaction, order_ids: &BTreeSet<OrderId>) -> Result<Aggregates, DbErr> {
    load_with(tx, order_ids.iter(), &[]).await
}

async fn load_with(
    tx: &DatabaseTransaction,
    order_ids: impl Iterator<Item = &OrderId>,
    batch: &[&Envelope<PaymentMessage>],
) -> Result<Aggregates, DbErr> {
    let order_ids: Vec<String> = order_ids.map(ToString::to_string).collect();
    let rows = statement::select_for_update::<payment::Entity, _>(tx, payment::Column::OrderId, &order_ids).await?;
    let payments = rows.into_iter().map(row::to_payment).collect::<Result<Tracked<_, _>, _>>()?;
    let customers = customers_of(&payments, batch);
    let exposures = lock_exposures(tx, &customers).await?;
    let customer_ids: BTreeSet<CustomerId> = customers.into_iter().map(|(customer_id, _)| customer_id).collect();
    let accounts = accounts::load(tx, &customer_ids).await?;
    Ok(Aggregates { payments, accounts, exposures })
}

/// Writes the changed payments and exposures.
///
/// # Errors
///
/// The database's error.
pub async fn save(tx: &DatabaseTransaction, aggregates: &Aggregates) -> Result<(), DbErr> {
    let payments = aggregates.payments.changed().map(|(order_id, payment)| row::of_payment(order_id, payment));
    statement::upsert(tx, payments.collect()).await?;
    let exposures = aggregates.exposures.changed().map(|(key, amount)| exposure_row(key, *amount));
    statement::upsert(tx, exposures.collect()).await
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
    /// Returns a report if an alarm, or failures of the provider, began or ended at a payment.
    pub(crate) fn of(aggregates: &Aggregates, order_id: &OrderId) -> Option<Self> {
        let (before, after) = (aggregates.payments.loaded(order_id)?, aggregates.payments.get(order_id)?);
        let alarm = after.alarm_since.is_some() && before.alarm_since.is_none();
        let changed = before.provider_answer.is_some() != after.provider_answer.is_some();
        (alarm || changed).then(|| Self {
            order_id: order_id.clone(),
            alarm,
            answer: after.provider_answer.clone(),
            trace_parent: after.trace_parent.clone(),
        })
    }

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
    payments: &Tracked<OrderId, Payment>,
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

async fn lock_exposures(
    tx: &DatabaseTransaction,
    keys: &BTreeSet<(CustomerId, &'static str)>,
) -> Result<Tracked<(CustomerId, &'static str), i64>, DbErr> {
    if locks_rows(tx) {
        let new = keys.iter().map(|key| exposure_row(key, 0)).collect();
        let key = [exposure::Column::CustomerId, exposure::Column::Currency];
        statement::insert(tx, new, Some(OnConflict::columns(key).do_nothing().to_owned())).await?;
    }
    let customer_ids: BTreeSet<String> = keys.iter().map(|(customer_id, _)| customer_id.to_string()).collect();
    let customer_ids: Vec<String> = customer_ids.into_iter().collect();
    let column = exposure::Column::CustomerId;
    let rows = statement::select_for_update::<exposure::Entity, _>(tx, column, &customer_ids).await?;
    let exposures = rows.into_iter().map(|row| {
        let currency = row::currency_of(&row.currency)?.code();
        Ok(((CustomerId::parse(row.customer_id).map_err(invalid_row)?, currency), row.amount))
    });
    exposures.collect()
}

fn exposure_row((customer_id, currency): &(CustomerId, &'static str), amount: i64) -> exposure::ActiveModel {
    exposure::ActiveModel {
        customer_id: Set(customer_id.to_string()),
        currency: Set((*currency).to_owned()),
        amount: Set(amount),
    }
}
