//! Confirmed orders, which must have a reservation, and cancelled ones, which must not.

use std::collections::BTreeMap;

use choreography::query::{QueryError, cut_page};
use contracts::inventory::StockLine;
use contracts::order::OrderItem;
use contracts::query::{Allocation, MAX_COMPARED, OrderAllocations, OrderStatus};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::entity::order_view::{Column, Entity};

/// Items have prices and repeat products: a page of items leaves capacity for the rest of the reply.
const ITEMS_SIZE: usize = 4;

/// Returns the number of confirmed orders, and the newest confirmed and cancelled ones.
///
/// # Errors
///
/// The database's error, or a row that cannot be read.
pub(crate) async fn allocations(db: &DatabaseConnection) -> Result<OrderAllocations, QueryError> {
    let confirmed = Entity::find().filter(Column::Status.eq(OrderStatus::Confirmed.as_str())).count(db).await?;
    let mut rows = newest(db, OrderStatus::Confirmed).await?;
    cut_page(&mut rows, MAX_COMPARED, |(_, items)| items.len() * ITEMS_SIZE);
    let newest_confirmed = rows.into_iter().map(allocation).collect::<Result<_, _>>();
    let cancelled = newest(db, OrderStatus::Cancelled).await?;
    let newest_cancelled = cancelled.into_iter().map(|(order_id, _)| order_id.try_into()).collect::<Result<_, _>>();
    Ok(OrderAllocations {
        confirmed,
        newest_confirmed: newest_confirmed.map_err(QueryError::Unavailable)?,
        newest_cancelled: newest_cancelled.map_err(|error| QueryError::Unavailable(anyhow::Error::new(error)))?,
    })
}

/// Returns the ids and items of the newest orders in a status.
async fn newest(db: &DatabaseConnection, status: OrderStatus) -> Result<Vec<(String, String)>, QueryError> {
    let orders = Entity::find().select_only().columns([Column::OrderId, Column::Items]);
    let orders = orders.filter(Column::Status.eq(status.as_str()));
    let newest_first = orders.order_by_desc(Column::PlacedAt).order_by_desc(Column::OrderId);
    Ok(newest_first.limit(MAX_COMPARED).into_tuple().all(db).await?)
}

fn allocation((order_id, items): (String, String)) -> anyhow::Result<Allocation> {
    let items: Vec<OrderItem> = serde_json::from_str(&items)?;
    let mut units = BTreeMap::new();
    for item in items {
        *units.entry(item.product_id).or_insert(0) += u64::from(item.quantity.get());
    }
    let lines = units.into_iter().map(|(product_id, quantity)| StockLine { product_id, quantity }).collect();
    Ok(Allocation { order_id: order_id.try_into()?, lines })
}
