//! The reconciliation totals of the orders: open ones per status, confirmed ones per customer and currency.

use std::time::Duration;

use choreography::envelope::{from_unix_millis, rfc3339};
use choreography::query::QueryError;
use contracts::CustomerId;
use contracts::query::{CustomerTotal, MAX_NAMED, MAX_TOTALS, Open, OpenOrders, OrderReconciliation, OrderStatus};
use sea_orm::{
    ColumnTrait, DatabaseConnection, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};

use crate::allocations::allocations;
use crate::entity::order_view::{Column, Entity};

/// The statuses that are not final.
const OPEN: [OrderStatus; 3] = [OrderStatus::Placed, OrderStatus::AwaitingStock, OrderStatus::Reserved];

#[derive(FromQueryResult)]
struct Total {
    customer_id: String,
    currency: String,
    orders: i64,
    amount: i64,
}

/// Returns the reconciliation totals. Confirmed orders are summed up first, because their number only grows.
///
/// # Errors
///
/// The database's error.
pub async fn reconciliation(
    db: DatabaseConnection,
    stock_deadline: Duration,
) -> Result<OrderReconciliation, QueryError> {
    let allocations = Some(allocations(&db).await?);
    let mut confirmed = confirmed(&db).await?;
    let mut open = Vec::with_capacity(OPEN.len());
    for status in OPEN {
        open.push(open_orders(&db, status).await?);
    }
    let max_totals = usize::try_from(MAX_TOTALS).unwrap_or(usize::MAX);
    let more = confirmed.len() > max_totals;
    confirmed.truncate(max_totals);
    let stock_deadline_seconds = Some(stock_deadline.as_secs());
    Ok(OrderReconciliation { open, confirmed, more, stock_deadline_seconds, allocations })
}

async fn confirmed(db: &DatabaseConnection) -> Result<Vec<CustomerTotal>, QueryError> {
    let sql = format!(
        "SELECT customer_id, currency, COUNT(*) AS orders, CAST(SUM(total_price) AS BIGINT) AS amount \
         FROM order_views WHERE status = 'confirmed' GROUP BY customer_id, currency \
         ORDER BY customer_id, currency LIMIT {}",
        MAX_TOTALS + 1
    );
    let rows = Total::find_by_statement(Statement::from_string(db.get_database_backend(), sql)).all(db).await?;
    rows.into_iter().map(total).collect::<Result<_, _>>().map_err(QueryError::Unavailable)
}

fn total(row: Total) -> anyhow::Result<CustomerTotal> {
    Ok(CustomerTotal {
        customer_id: CustomerId::parse(row.customer_id)?,
        currency: serde_json::from_value(row.currency.into())?,
        count: row.orders.unsigned_abs(),
        amount: row.amount,
    })
}

async fn open_orders(db: &DatabaseConnection, status: OrderStatus) -> Result<OpenOrders, QueryError> {
    let orders = Entity::find().filter(Column::Status.eq(status.as_str()));
    let count = orders.clone().count(db).await?;
    let oldest: Vec<(String, i64)> = orders
        .select_only()
        .columns([Column::OrderId, Column::UpdatedAt])
        .order_by_asc(Column::PlacedAt)
        .order_by_asc(Column::OrderId)
        .limit(MAX_NAMED)
        .into_tuple()
        .all(db)
        .await?;
    let open = |(order_id, since): (String, i64)| -> anyhow::Result<Open> {
        Ok(Open { order_id: order_id.try_into()?, since: rfc3339(from_unix_millis(since)) })
    };
    let oldest = oldest.into_iter().map(open).collect::<Result<_, _>>().map_err(QueryError::Unavailable)?;
    Ok(OpenOrders { status, count, oldest })
}
