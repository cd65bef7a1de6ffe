//! The slice of the stock that a batch of messages needs: loaded, decided on, saved.
//!
//! # Which part of a queue is enough
//!
//! A queue may be long, and a restock of five units concerns its first few lines. Of the waiting lines of a product
//! those are loaded whose predecessors in line ask, all together, for less than the product's *budget*:
//!
//! > what is available, plus what the batch restocks, plus what the orders that the batch cancels hold or wait for.
//!
//! These are the lines that fit into the budget, each with all lines ahead of it, and, where they do not use it up,
//! one more. Nothing behind the ones that fit can be served in this batch. Take a line that is in reach at some
//! moment of the batch: it and the lines ahead of it that still wait then fit into what is available then. Of the
//! lines that were ahead of it before the batch, some no longer wait: those of orders served meanwhile, whose units
//! left what is available, and those of orders cancelled meanwhile. Put all of them back on both sides: the line and
//! all that was ahead of it before the batch fit into what was available before, plus what came in, plus what
//! cancelled orders gave back or no longer wait for. That is the budget. Orders that are new in the batch stand
//! behind all lines and only ever give back what they took.
//!
//! The lines that are loaded ask for the whole budget, or there are no others. So the same sum keeps an order that
//! begins to wait in the batch out of reach behind them, although what stands in between was not loaded.
//!
//! Who can be served at all? Between batches no waiting order has all of its lines in reach. So an order that is
//! served has a line in a product that the batch restocks or takes a cancelled order from, and within that product's
//! budget. Those orders are loaded; for their other products, and for the products of orders that the batch places,
//! the queues are loaded under the same budget, to know what is promised ahead. What further orders those queues
//! name cannot be served in this batch, and whether they are is all that a reservation would tell: so there the
//! loading ends, after two rounds.
//!
//! # Two instances on one database
//!
//! On PostgreSQL the product rows are the locks: whoever changes a reservation holds the rows of all its products.
//! Each round locks in the order of ids; two transactions whose second rounds cross may still deadlock, which ends
//! one of them, and its messages are tried again. An order or product that two transactions create at the same time
//! violates the primary key of the slower one, with the same end. On SQLite there is one writer at a time anyway.

use std::collections::{BTreeMap, BTreeSet};

use contracts::inventory::StockLine;
use contracts::{OrderId, ProductId};
use messaging::statement;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, FromQueryResult, Iterable, QueryFilter,
    QueryOrder, QuerySelect, Statement, Value,
};

use crate::entity::reservation::Status;
use crate::entity::{backorder_line, product, reservation};
use crate::stock::{Place, Product, Reservation, ReservationState, Stock, StockMessage};

/// The queues that one statement reads at most.
const QUEUES: usize = 16;

/// The part of the stock that a batch needs.
#[derive(Debug)]
pub struct UnitOfWork {
    /// As it was loaded.
    before: Stock,
    /// As it is decided on.
    pub stock: Stock,
}

/// What the messages of a batch name.
#[derive(Default)]
struct Named {
    orders: BTreeSet<OrderId>,
    cancelled: BTreeSet<OrderId>,
    products: BTreeSet<ProductId>,
    restocked: BTreeMap<ProductId, u64>,
}

impl Named {
    fn by<'a>(messages: impl IntoIterator<Item = &'a StockMessage>) -> Self {
        let mut named = Self::default();
        for message in messages {
            match message {
                StockMessage::Placed(order) => {
                    named.orders.insert(order.order_id.clone());
                    named.products.extend(order.items.iter().map(|item| item.product_id.clone()));
                }
                StockMessage::Cancelled(order) => {
                    named.orders.insert(order.order_id.clone());
                    named.cancelled.insert(order.order_id.clone());
                }
                StockMessage::Restock(restock) => {
                    named.products.insert(restock.product_id.clone());
                    *named.restocked.entry(restock.product_id.clone()).or_default() +=
                        u64::from(restock.quantity.get());
                }
            }
        }
        named
    }
}

impl UnitOfWork {
    /// Loads what the messages need, and locks its products until the transaction ends.
    ///
    /// The number of statements depends on the number of messages only through chunks of fixed sizes.
    ///
    /// # Errors
    ///
    /// The database's error, or [`DbErr::Custom`] where a row does not say what this service writes.
    pub async fn load<'a>(
        tx: &DatabaseTransaction,
        messages: impl IntoIterator<Item = &'a StockMessage>,
    ) -> Result<Self, DbErr> {
        let named = Named::by(messages);
        let mut stock = Stock::default();
        load_reservations(tx, &mut stock, named.orders.clone()).await?;
        let cancelled = live(&stock, &named.cancelled);
        let freed = cancelled.iter().flat_map(|order_id| product_ids(&stock, order_id));
        let products = named.products.iter().cloned().chain(freed).collect();
        lock_products(tx, &mut stock, products).await?;
        // Until its products were locked, another instance could move a cancelled order on.
        load_reservations(tx, &mut stock, cancelled).await?;
        if !named.restocked.is_empty() || !named.cancelled.is_empty() {
            load_backorders(tx, &mut stock, &named).await?;
        }
        Ok(Self { before: stock.clone(), stock })
    }

    /// Writes what has changed.
    ///
    /// # Errors
    ///
    /// The database's error; a unique violation where another instance created the same order or product meanwhile.
    pub async fn save(self, tx: &DatabaseTransaction) -> Result<(), DbErr> {
        let Self { before, stock } = self;
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for (id, product) in stock.products.iter().filter(|(id, product)| before.products.get(id) != Some(product))
        {
            let rows = if before.products.contains_key(id) { &mut changed } else { &mut new };
            rows.push(product_row(id, product)?);
        }
        statement::insert(tx, new, None).await?;
        statement::insert(tx, changed, Some(overwrite::<product::Entity>(product::Column::ProductId))).await?;

        let (mut new, mut changed) = (Vec::new(), Vec::new());
        let (mut arrived, mut left) = (Vec::new(), Vec::new());
        for (id, reservation) in &stock.reservations {
            let known = before.reservations.get(id);
            if known == Some(reservation) {
                continue;
            }
            let rows = if known.is_some() { &mut changed } else { &mut new };
            rows.push(reservation_row(id, reservation)?);
            if let ReservationState::Waiting { position } = reservation.state {
                let lines = reservation.lines.iter();
                let rows: Result<Vec<_>, _> = lines.map(|line| backorder_row(id, position, line)).collect();
                arrived.extend(rows?);
            } else if known.is_some_and(|known| matches!(known.state, ReservationState::Waiting { .. })) {
                left.push(id.as_str().to_owned());
            }
        }
        statement::insert(tx, new, None).await?;
        statement::insert(tx, changed, Some(overwrite::<reservation::Entity>(reservation::Column::OrderId)))
            .await?;
        statement::insert(tx, arrived, None).await?;
        for chunk in statement::padded_chunks(&left) {
            let left = backorder_line::Column::OrderId.is_in(chunk);
            backorder_line::Entity::delete_many().filter(left).exec(tx).await?;
        }
        Ok(())
    }
}

/// Loads the heads of the queues that the batch may move, and all it takes to move them; see the [module](self).
async fn load_backorders(tx: &DatabaseTransaction, stock: &mut Stock, named: &Named) -> Result<(), DbErr> {
    let mut more = named.restocked.clone();
    for order_id in live(stock, &named.cancelled) {
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

/// Returns those of the orders that hold units or wait for some.
fn live(stock: &Stock, order_ids: &BTreeSet<OrderId>) -> BTreeSet<OrderId> {
    let is_live = |state| matches!(state, ReservationState::Reserved | ReservationState::Waiting { .. });
    let known = order_ids.iter().filter(|id| stock.reservations.get(id).is_some_and(|known| is_live(known.state)));
    known.cloned().collect()
}

/// Returns the products an order asks for, where the order is known.
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
    for row in statement::select_in::<reservation::Entity, _>(tx, reservation::Column::OrderId, &order_ids).await? {
        let (order_id, reservation) = reservation_of(row)?;
        stock.reservations.insert(order_id, reservation);
    }
    Ok(())
}

async fn lock_products(
    tx: &DatabaseTransaction,
    stock: &mut Stock,
    product_ids: BTreeSet<ProductId>,
) -> Result<(), DbErr> {
    let product_ids: Vec<String> = product_ids.into_iter().map(String::from).collect();
    for chunk in statement::padded_chunks(&product_ids) {
        let rows = product::Entity::find()
            .filter(product::Column::ProductId.is_in(chunk))
            .order_by_asc(product::Column::ProductId)
            .lock_exclusive()
            .all(tx)
            .await?;
        for row in rows {
            let (product_id, product) = product_of(row)?;
            stock.products.insert(product_id, product);
        }
    }
    Ok(())
}

/// Loads the heads of the queues of those products, each as far as its budget goes: what is available, and `more`.
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
            let place = Place { position: row.position, order_id: OrderId::parse(row.order_id).map_err(foreign)? };
            let product_id = ProductId::parse(row.product_id).map_err(foreign)?;
            stock.queues.entry(product_id).or_default().insert(place, counted(row.quantity)?);
        }
    }
    Ok(())
}

/// Returns the statement that reads the lines of each product whose predecessors in line ask for less than the budget.
///
/// Every line asks for at least one piece, so there are no more of them than the budget has units; the inner limit
/// spares summing up a long queue to its end. The text is one of two: for one queue, or for [`QUEUES`].
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

/// Returns the clause that writes a changed row over the one with the same key.
fn overwrite<E: EntityTrait>(key: E::Column) -> OnConflict {
    let changed: Vec<E::Column> = E::Column::iter().skip(1).collect();
    statement::overwrite(&[key], &changed)
}

fn product_row(product_id: &ProductId, product: &Product) -> Result<product::ActiveModel, DbErr> {
    Ok(product::ActiveModel {
        product_id: Set(product_id.to_string()),
        available: Set(stored(product.available)?),
        reserved: Set(stored(product.reserved)?),
        backordered: Set(stored(product.backordered)?),
        last_position: Set(product.last_position),
        version: Set(product.version),
    })
}

fn product_of(row: product::Model) -> Result<(ProductId, Product), DbErr> {
    let product = Product {
        available: counted(row.available)?,
        reserved: counted(row.reserved)?,
        backordered: counted(row.backordered)?,
        last_position: row.last_position,
        version: row.version,
    };
    Ok((ProductId::parse(row.product_id).map_err(foreign)?, product))
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
        lines: Set(serde_json::to_string(&reservation.lines).map_err(foreign)?),
        correlation_id: Set(reservation.correlation_id),
        version: Set(reservation.version),
        position: Set(position),
    })
}

fn reservation_of(row: reservation::Model) -> Result<(OrderId, Reservation), DbErr> {
    let state = match (row.status, row.position) {
        (Status::Waiting, Some(position)) => ReservationState::Waiting { position },
        (Status::Waiting, None) => return Err(foreign(format!("{} waits nowhere", row.order_id))),
        (Status::Reserved, _) => ReservationState::Reserved,
        (Status::Refused, _) => ReservationState::Refused,
        (Status::Released, _) => ReservationState::Released,
        (Status::Cancelled, _) => ReservationState::Cancelled,
    };
    let reservation = Reservation {
        state,
        lines: serde_json::from_str(&row.lines).map_err(foreign)?,
        correlation_id: row.correlation_id,
        version: row.version,
    };
    Ok((OrderId::parse(row.order_id).map_err(foreign)?, reservation))
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

/// Databases have no unsigned numbers.
fn stored(units: u64) -> Result<i64, DbErr> {
    i64::try_from(units).map_err(foreign)
}

fn counted(units: i64) -> Result<u64, DbErr> {
    u64::try_from(units).map_err(foreign)
}

/// A value that no row of this service has.
fn foreign(error: impl std::fmt::Display) -> DbErr {
    DbErr::Custom(format!("a row that this service did not write: {error}"))
}
