//! The reconciliation totals of the stock: received units are recorded separately and compared with the stock.

use std::collections::BTreeMap;

use choreography::query::{Query, QueryError};
use choreography::statement;
use contracts::query::{
    Allocation, CompareAllocations, MAX_COMPARED, MAX_NAMED, ProductReconciliation, StockAllocations,
    StockReconciliation,
};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, OnConflict};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, EntityTrait, FromQueryResult,
    PaginatorTrait, QueryFilter, Statement,
};

use crate::entity::{product, reservation, stock_receipt};

/// Records received units.
///
/// # Errors
///
/// The database's error.
pub(crate) async fn receive(connection: &impl ConnectionTrait, units: BTreeMap<String, i64>) -> Result<(), DbErr> {
    let rows =
        units.into_iter().map(|(id, units)| stock_receipt::ActiveModel { product_id: Set(id), units: Set(units) });
    let known = Expr::col((stock_receipt::Entity, stock_receipt::Column::Units));
    let sum = known.add(Expr::col((Alias::new("excluded"), stock_receipt::Column::Units)));
    let mut added = OnConflict::column(stock_receipt::Column::ProductId);
    added.value(stock_receipt::Column::Units, sum);
    statement::insert(connection, rows.collect(), Some(added)).await
}

/// The totals of one product.
#[derive(FromQueryResult)]
struct Row {
    product_id: String,
    received: i64,
    available: i64,
    reserved: i64,
    reservation_lines: i64,
    backordered: i64,
    backorder_lines: i64,
    wrong_total: i64,
}

impl From<Row> for ProductReconciliation {
    fn from(row: Row) -> Self {
        let Row {
            product_id,
            received,
            available,
            reserved,
            reservation_lines,
            backordered,
            backorder_lines,
            wrong_total: _,
        } = row;
        Self { product_id, received, available, reserved, reservation_lines, backordered, backorder_lines }
    }
}

/// Returns the products whose totals do not reconcile, read by one statement and so at one moment, and the reservations
/// of the requested orders.
///
/// # Errors
///
/// [`QueryError::Invalid`] if the body is not a valid [`CompareAllocations`] or has too many orders; the database's
/// error.
pub async fn reconciliation(db: DatabaseConnection, query: Query) -> Result<StockReconciliation, QueryError> {
    let request: CompareAllocations = if query.body.is_empty() {
        CompareAllocations::default()
    } else {
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?
    };
    if request.order_ids.len() as u64 > 2 * MAX_COMPARED {
        return Err(QueryError::Invalid(format!("orderIds must have at most {} entries", 2 * MAX_COMPARED)));
    }
    let backend = db.get_database_backend();
    let wrong = Row::find_by_statement(Statement::from_string(backend, query_mismatches(backend))).all(&db).await?;
    let products = product::Entity::find().count(&db).await?;
    let wrong_total = wrong.first().map_or(0, |row| row.wrong_total.unsigned_abs());
    let allocations = Some(allocations(&db, request).await?);
    let wrong = wrong.into_iter().map(ProductReconciliation::from).collect();
    Ok(StockReconciliation { products, wrong_total, wrong, allocations })
}

/// Returns the number of orders with a reservation, and the reserved units of the requested orders.
async fn allocations(db: &DatabaseConnection, request: CompareAllocations) -> Result<StockAllocations, QueryError> {
    let order_ids: Vec<String> = request.order_ids.into_iter().map(String::from).collect();
    let rows = statement::select_in::<reservation::Entity, _>(db, reservation::Column::OrderId, &order_ids).await?;
    let reservation_lines = rows.into_iter().filter(|row| row.status == reservation::Status::Reserved);
    let allocation = |row: reservation::Model| -> anyhow::Result<Allocation> {
        Ok(Allocation { order_id: row.order_id.try_into()?, lines: serde_json::from_str(&row.lines)? })
    };
    let compared = reservation_lines.map(allocation).collect::<Result<_, _>>().map_err(QueryError::Unavailable)?;
    let reserved = reservation::Column::Status.eq(reservation::Status::Reserved);
    let reserved = reservation::Entity::find().filter(reserved).count(db).await?;
    Ok(StockAllocations { reserved, compared })
}

fn query_mismatches(backend: DbBackend) -> String {
    // The lines of a reservation are JSON.
    let reservation_lines = match backend {
        DbBackend::Postgres => {
            "SELECT line->>'productId', 0, 0, 0, (line->>'quantity')::bigint, 0, 0 \
             FROM reservations, jsonb_array_elements(lines::jsonb) AS line WHERE status = 'reserved'"
        }
        _ => {
            "SELECT line.value->>'productId', 0, 0, 0, line.value->>'quantity', 0, 0 \
             FROM reservations, json_each(lines) AS line WHERE status = 'reserved'"
        }
    };
    let sums = ["received", "available", "reserved", "reservation_lines", "backordered", "backorder_lines"]
        .map(|column| format!("CAST(SUM({column}) AS BIGINT) AS {column}"))
        .join(", ");
    format!(
        "SELECT product_id, {sums}, COUNT(*) OVER () AS wrong_total FROM (\
         SELECT product_id, 0 AS received, available, reserved, 0 AS reservation_lines, backordered, 0 AS backorder_lines FROM products \
         UNION ALL SELECT product_id, units, 0, 0, 0, 0, 0 FROM stock_receipts \
         UNION ALL {reservation_lines} \
         UNION ALL SELECT product_id, 0, 0, 0, 0, 0, quantity FROM backorder_lines\
         ) AS entries GROUP BY product_id \
         HAVING SUM(available) + SUM(reserved) <> SUM(received) OR SUM(reserved) <> SUM(reservation_lines) \
         OR SUM(backordered) <> SUM(backorder_lines) ORDER BY product_id LIMIT {MAX_NAMED}"
    )
}
