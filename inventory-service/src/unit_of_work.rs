//! The unit of work: loads and locks the stock that a batch of messages needs, and saves the changed rows.
//!
//! # The part of a queue that is loaded
//!
//! A queue may be long, and a restock of five units concerns its first few lines. Of the backorder lines of a product
//! those are loaded whose predecessors in the queue have, in total, fewer units than the product's *budget*:
//!
//! > the available units, plus the restocks of the batch, plus all units of the orders that the batch cancels.
//!
//! These are the lines that fit into the budget, each with all lines ahead of it, and one more if they do not exhaust
//! it. No later line can be served in this batch. Take a line that is in reach at some moment of the batch: the units
//! available then cover it and the lines ahead of it that still wait. Of the lines that were ahead of it before the
//! batch, some no longer wait: those of orders served meanwhile, whose units are no longer available, and those of
//! orders cancelled meanwhile. Add all of them to both sides: the line and all lines ahead of it before the batch fit
//! into the units available before, plus the restocks, plus the units of cancelled orders. That is the budget. Orders
//! that are new in the batch come after all lines, and only return units that they reserved.
//!
//! The loaded lines exhaust the budget, or they are the whole queue. So the same sum keeps an order that starts to wait
//! in the batch out of reach after them, although the lines in between are not loaded.
//!
//! Which orders can be served at all? Between batches no waiting order has all of its lines in reach. So a served order
//! has a line on a product that the batch restocks, or that a cancelled order had, and within that product's budget.
//! Those orders are loaded. For their other products, and for the products of orders that the batch places, the queues
//! are loaded under the same budget, to know the promised units ahead. Further orders in those queues cannot be served
//! in this batch, so their reservations are not needed, and the loading ends after two rounds.
//!
//! # Two instances on one database
//!
//! On PostgreSQL the product rows are the locks: a transaction that changes a reservation locks the rows of all its
//! products. Each round locks in the order of ids. Two transactions whose second rounds cross may still deadlock; the
//! database then aborts one of them, and its messages are retried. If two transactions create the same order or
//! product, the slower one violates the primary key and is retried, too. SQLite has one writer at a time.

use std::collections::{BTreeMap, BTreeSet};

use choreography::clock;
use choreography::envelope::unix_millis;
use choreography::statement::{self, invalid_row};
use contracts::inventory::StockLine;
use contracts::{OrderId, ProductId};
use sea_orm::ActiveValue::Set;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, FromQueryResult, QueryFilter, Statement,
    Value,
};

use crate::entity::reservation::Status;
use crate::entity::{backorder_line, product, reservation};
use crate::history;
use crate::stock::{Place, Product, Reservation, ReservationState, Stock, StockMessage};

/// The largest number of queues that one statement reads.
const QUEUES: usize = 16;

/// The orders and products in the messages of a batch.
#[derive(Default)]
struct Affected {
    orders: BTreeSet<OrderId>,
    cancelled: BTreeSet<OrderId>,
    products: BTreeSet<ProductId>,
    restocked: BTreeMap<ProductId, u64>,
}

impl Affected {
    fn of<'a>(messages: impl IntoIterator<Item = &'a StockMessage>) -> Self {
        let mut affected = Self::default();
        for message in messages {
            match message {
                StockMessage::Placed(order) => {
                    affected.orders.insert(order.order_id.clone());
                    affected.products.extend(order.items.iter().map(|item| item.product_id.clone()));
                }
                StockMessage::Cancelled(order) => {
                    affected.orders.insert(order.order_id.clone());
                    affected.cancelled.insert(order.order_id.clone());
                }
                StockMessage::Restock(restock) => {
                    affected.products.insert(restock.product_id.clone());
                    *affected.restocked.entry(restock.product_id.clone()).or_default() +=
                        u64::from(restock.quantity.get());
                }
            }
        }
        affected
    }
}

/// Loads the stock that the messages need, and locks its products until the transaction ends.
///
/// The number of statements depends on the number of messages only through chunks of fixed sizes.
///
/// # Errors
///
/// The database's error, or [`DbErr::Custom`] if a row is invalid.
pub async fn load<'a>(
    tx: &DatabaseTransaction,
    messages: impl IntoIterator<Item = &'a StockMessage>,
) -> Result<Stock, DbErr> {
    let affected = Affected::of(messages);
    let mut stock = Stock::default();
    load_reservations(tx, &mut stock, affected.orders.clone()).await?;
    let cancelled = live(&stock, &affected.cancelled);
    let freed = cancelled.iter().flat_map(|order_id| product_ids(&stock, order_id));
    let products = affected.products.iter().cloned().chain(freed).collect();
    lock_products(tx, &mut stock, products).await?;
    // Again, because another instance could change a cancelled order before its products were locked.
    load_reservations(tx, &mut stock, cancelled).await?;
    if !affected.restocked.is_empty() || !affected.cancelled.is_empty() {
        load_backorders(tx, &mut stock, &affected).await?;
    }
    Ok(stock)
}

/// Writes the changed products with their history, the changed reservations, and the backorder lines of orders that wait
/// now, or no longer.
///
/// # Errors
///
/// The database's error; a unique violation if another instance created the same order or product meanwhile.
pub async fn save(tx: &DatabaseTransaction, stock: &Stock) -> Result<(), DbErr> {
    let now = unix_millis(clock::now());
    stock.products.save(tx, |id, product| product_row(id, product, now)).await?;
    let changed: Result<_, DbErr> =
        stock.products.changed().map(|(id, product)| product_row(id, product, now)).collect();
    history::record(tx, changed?, now).await?;
    stock.reservations.save(tx, reservation_row).await?;
    let (mut arrived, mut left) = (Vec::new(), Vec::new());
    for (id, reservation) in stock.reservations.changed() {
        if let ReservationState::Waiting { position } = reservation.state {
            for line in &reservation.lines {
                arrived.push(backorder_row(id, position, line)?);
            }
        } else if stock
            .reservations
            .loaded(id)
            .is_some_and(|known| matches!(known.state, ReservationState::Waiting { .. }))
        {
            left.push(id.to_string());
        }
    }
    statement::insert(tx, arrived, None).await?;
    for chunk in statement::padded_chunks(&left) {
        let left = backorder_line::Column::OrderId.is_in(chunk);
        backorder_line::Entity::delete_many().filter(left).exec(tx).await?;
    }
    Ok(())
}

/// Loads the heads of the queues that the batch may serve, and the reservations and products these need; see the
/// [module](self).
async fn load_backorders(tx: &DatabaseTransaction, stock: &mut Stock, affected: &Affected) -> Result<(), DbErr> {
    let mut more = affected.restocked.clone();
    for order_id in live(stock, &affected.cancelled) {
        for line in stock.reservations.get(&order_id).into_iter().flat_map(|reservation| &reservation.lines) {
            *more.entry(line.product_id.clone()).or_default() += line.quantity;
        }
    }
    let products: Vec<ProductId> = stock.products.keys().cloned().collect();
    load_queues(tx, stock, &products, &more).await?;

    let queues = more.keys().filter_map(|product_id| stock.queues.get(product_id));
    let candidates: BTreeSet<OrderId> = queues
        .flat_map(BTreeMap::keys)
        .map(|place| place.order_id.clone())
        .filter(|order_id| !stock.reservations.contains_key(order_id))
        .collect();
    load_reservations(tx, stock, candidates.clone()).await?;

    let others: BTreeSet<ProductId> = candidates
        .iter()
        .flat_map(|order_id| product_ids(stock, order_id))
        .filter(|product_id| !stock.products.contains_key(product_id))
        .collect();
    lock_products(tx, stock, others.clone()).await?;
    let others: Vec<ProductId> = others.into_iter().collect();
    load_queues(tx, stock, &others, &more).await
}

/// Returns the orders that have reserved units or wait for some.
fn live(stock: &Stock, order_ids: &BTreeSet<OrderId>) -> BTreeSet<OrderId> {
    let is_live = |state| matches!(state, ReservationState::Reserved | ReservationState::Waiting { .. });
    let known = order_ids.iter().filter(|id| stock.reservations.get(id).is_some_and(|known| is_live(known.state)));
    known.cloned().collect()
}

/// Returns the products of an order; none if it is unknown.
fn product_ids(stock: &Stock, order_id: &OrderId) -> Vec<ProductId> {
    let lines = stock.reservations.get(order_id).map(|reservation| reservation.lines.iter());
    lines.into_iter().flatten().map(|line| line.product_id.clone()).collect()
}

async fn load_reservations(
    tx: &DatabaseTransaction,
    stock: &mut Stock,
    order_ids: BTreeSet<OrderId>,
) -> Result<(), DbErr> {
    let order_ids: Vec<String> = order_ids.into_iter().map(String::from).collect();
    let rows = statement::select_in::<reservation::Entity, _>(tx, reservation::Column::OrderId, &order_ids).await?;
    stock.reservations.extend(rows.into_iter().map(reservation_of).collect::<Result<Vec<_>, _>>()?);
    Ok(())
}

async fn lock_products(
    tx: &DatabaseTransaction,
    stock: &mut Stock,
    product_ids: BTreeSet<ProductId>,
) -> Result<(), DbErr> {
    let product_ids: Vec<String> = product_ids.into_iter().map(String::from).collect();
    let rows =
        statement::select_for_update::<product::Entity, _>(tx, product::Column::ProductId, &product_ids).await?;
    stock.products.extend(rows.into_iter().map(product_of).collect::<Result<Vec<_>, _>>()?);
    Ok(())
}

/// Loads the heads of the queues of products, each up to its budget: the available units and `more`.
async fn load_queues(
    tx: &DatabaseTransaction,
    stock: &mut Stock,
    product_ids: &[ProductId],
    more: &BTreeMap<ProductId, u64>,
) -> Result<(), DbErr> {
    let awaited = product_ids.iter().filter_map(|id| Some((id, stock.products.get(id)?)));
    let budgets: Result<Vec<_>, DbErr> = awaited
        .filter(|(_, product)| product.backordered > 0)
        .map(|(id, product)| Ok((id.to_string(), stored(product.available + more.get(id).unwrap_or(&0))?)))
        .collect();
    for chunk in budgets?.chunks(QUEUES) {
        for row in backorder_line::Model::find_by_statement(heads_of_queues(tx, chunk)).all(tx).await? {
            let place =
                Place { position: row.position, order_id: OrderId::parse(row.order_id).map_err(invalid_row)? };
            let product_id = ProductId::parse(row.product_id).map_err(invalid_row)?;
            stock.queues.entry(product_id).or_default().insert(place, counted(row.quantity)?);
        }
    }
    Ok(())
}

/// Returns the statement that reads the lines of each product whose predecessors have fewer units than the budget.
///
/// Every line has at least one unit, so there are at most as many lines as the budget has units; the inner limit avoids
/// summing up a long queue to its end. The text is one of two: for one queue, or for [`QUEUES`].
fn heads_of_queues(connection: &impl ConnectionTrait, budgets: &[(String, i64)]) -> Statement {
    let size = if budgets.len() == 1 { 1 } else { QUEUES };
    let nothing = (String::new(), 0);
    let mut heads = Vec::with_capacity(size);
    let mut values: Vec<Value> = Vec::with_capacity(2 * size);
    for (product_id, budget) in budgets.iter().chain(std::iter::repeat(&nothing)).take(size) {
        let [product, units] = [1, 2].map(|parameter| values.len() + parameter);
        heads.push(format!(
            "SELECT product_id, position, order_id, quantity FROM (\
             SELECT product_id, position, order_id, quantity, \
             SUM(quantity) OVER (ORDER BY position, order_id) - quantity AS ahead FROM (\
             SELECT product_id, position, order_id, quantity FROM backorder_lines WHERE product_id = ${product} \
             ORDER BY position, order_id LIMIT ${units}) AS head) AS counted WHERE ahead < ${units}"
        ));
        values.extend([product_id.clone().into(), (*budget).into()]);
    }
    Statement::from_sql_and_values(connection.get_database_backend(), heads.join(" UNION ALL "), values)
}

/// Returns the row of a product that changes now. The clocks of two instances differ, so the time is at least a
/// millisecond after the change before.
fn product_row(product_id: &ProductId, product: &Product, now: i64) -> Result<product::ActiveModel, DbErr> {
    Ok(product::ActiveModel {
        product_id: Set(product_id.to_string()),
        available: Set(stored(product.available)?),
        reserved: Set(stored(product.reserved)?),
        backordered: Set(stored(product.backordered)?),
        last_position: Set(product.last_position),
        version: Set(product.version),
        changed_at: Set(now.max(product.changed_at + 1)),
    })
}

fn product_of(row: product::Model) -> Result<(ProductId, Product), DbErr> {
    let product = Product {
        available: counted(row.available)?,
        reserved: counted(row.reserved)?,
        backordered: counted(row.backordered)?,
        last_position: row.last_position,
        version: row.version,
        changed_at: row.changed_at,
    };
    Ok((ProductId::parse(row.product_id).map_err(invalid_row)?, product))
}

fn reservation_row(order_id: &OrderId, reservation: &Reservation) -> Result<reservation::ActiveModel, DbErr> {
    let (status, position) = match reservation.state {
        ReservationState::Reserved => (Status::Reserved, None),
        ReservationState::Waiting { position } => (Status::Waiting, Some(position)),
        ReservationState::Refused => (Status::Refused, None),
        ReservationState::Released => (Status::Released, None),
        ReservationState::Cancelled => (Status::Cancelled, None),
    };
    Ok(reservation::ActiveModel {
        order_id: Set(order_id.to_string()),
        status: Set(status),
        lines: Set(serde_json::to_string(&reservation.lines).map_err(invalid_row)?),
        correlation_id: Set(reservation.correlation_id),
        version: Set(reservation.version),
        position: Set(position),
    })
}

fn reservation_of(row: reservation::Model) -> Result<(OrderId, Reservation), DbErr> {
    let state = match (row.status, row.position) {
        (Status::Waiting, Some(position)) => ReservationState::Waiting { position },
        (Status::Waiting, None) => return Err(invalid_row(format!("{} waits without a position", row.order_id))),
        (Status::Reserved, _) => ReservationState::Reserved,
        (Status::Refused, _) => ReservationState::Refused,
        (Status::Released, _) => ReservationState::Released,
        (Status::Cancelled, _) => ReservationState::Cancelled,
    };
    let reservation = Reservation {
        state,
        lines: serde_json::from_str(&row.lines).map_err(invalid_row)?,
        correlation_id: row.correlation_id,
        version: row.version,
    };
    Ok((OrderId::parse(row.order_id).map_err(invalid_row)?, reservation))
}

fn backorder_row(
    order_id: &OrderId,
    position: i64,
    line: &StockLine,
) -> Result<backorder_line::ActiveModel, DbErr> {
    Ok(backorder_line::ActiveModel {
        product_id: Set(line.product_id.to_string()),
        position: Set(position),
        order_id: Set(order_id.to_string()),
        quantity: Set(stored(line.quantity)?),
    })
}

/// Converts to a signed number, because databases have no unsigned ones.
fn stored(units: u64) -> Result<i64, DbErr> {
    i64::try_from(units).map_err(invalid_row)
}

fn counted(units: i64) -> Result<u64, DbErr> {
    u64::try_from(units).map_err(invalid_row)
}
