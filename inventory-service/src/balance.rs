//! The books of the stock: what came in is written down apart from what becomes of it, and held against it.

use std::collections::BTreeMap;

use contracts::query::{
    Allocation, CompareAllocations, MAX_COMPARED, MAX_NAMED, ProductBalance, StockAllocations, StockBalance,
};
use messaging::query::{Query, QueryError};
use messaging::statement;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, OnConflict};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, EntityTrait, FromQueryResult,
    PaginatorTrait, QueryFilter, Statement,
};

use crate::entity::{intake, product, reservation};

/// Adds to what came in.
///
/// # Errors
///
/// The database's error.
pub(crate) async fn take_in(connection: &impl ConnectionTrait, pieces: BTreeMap<String, i64>) -> Result<(), DbErr> {
    let rows =
        pieces.into_iter().map(|(id, pieces)| intake::ActiveModel { product_id: Set(id), pieces: Set(pieces) });
    let known = Expr::col((intake::Entity, intake::Column::Pieces));
    let sum = known.add(Expr::col((Alias::new("excluded"), intake::Column::Pieces)));
    let mut added = OnConflict::column(intake::Column::ProductId);
    added.value(intake::Column::Pieces, sum);
    statement::insert(connection, rows.collect(), Some(added)).await
}

/// A row of the books.
#[derive(FromQueryResult)]
struct Row {
    product_id: String,
    intake: i64,
    available: i64,
    reserved: i64,
    held: i64,
    awaiting: i64,
    waited: i64,
    wrong_total: i64,
}

impl From<Row> for ProductBalance {
    fn from(row: Row) -> Self {
        let Row { product_id, intake, available, reserved, held, awaiting, waited, wrong_total: _ } = row;
        Self { product_id, intake, available, reserved, held, awaiting, waited }
    }
}

/// Replies with the products whose totals do not reconcile, by one statement and so of one moment, and with reservations.
///
/// # Errors
///
/// [`QueryError::Invalid`] if the body is not a [`CompareAllocations`] or names too many orders; the database's error.
pub async fn balance(db: DatabaseConnection, query: Query) -> Result<StockBalance, QueryError> {
    let asked: CompareAllocations = if query.body.is_empty() {
        CompareAllocations::default()
    } else {
        serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?
    };
    if asked.order_ids.len() as u64 > 2 * MAX_COMPARED {
        return Err(QueryError::Invalid(format!("orderIds must have at most {} entries", 2 * MAX_COMPARED)));
    }
    let backend = db.get_database_backend();
    let wrong = Row::find_by_statement(Statement::from_string(backend, books(backend))).all(&db).await?;
    let products = product::Entity::find().count(&db).await?;
    let wrong_total = wrong.first().map_or(0, |row| row.wrong_total.unsigned_abs());
    let allocations = Some(allocations(&db, asked).await?);
    let wrong = wrong.into_iter().map(ProductBalance::from).collect();
    Ok(StockBalance { products, wrong_total, wrong, allocations })
}

/// Returns the number of orders with reserved units, and the units of those that are compared.
async fn allocations(db: &DatabaseConnection, asked: CompareAllocations) -> Result<StockAllocations, QueryError> {
    let order_ids: Vec<String> = asked.order_ids.into_iter().map(String::from).collect();
    let rows = statement::select_in::<reservation::Entity, _>(db, reservation::Column::OrderId, &order_ids).await?;
    let held = rows.into_iter().filter(|row| row.status == reservation::Status::Reserved);
    let allocation = |row: reservation::Model| -> anyhow::Result<Allocation> {
        Ok(Allocation { order_id: row.order_id.try_into()?, lines: serde_json::from_str(&row.lines)? })
    };
    let compared = held.map(allocation).collect::<Result<_, _>>().map_err(QueryError::Unavailable)?;
    let reserved = reservation::Column::Status.eq(reservation::Status::Reserved);
    let reserved = reservation::Entity::find().filter(reserved).count(db).await?;
    Ok(StockAllocations { reserved, compared })
}

fn books(backend: DbBackend) -> String {
    // The lines of a reservation are JSON.
    let held = match backend {
        DbBackend::Postgres => {
            "SELECT line->>'productId', 0, 0, 0, (line->>'quantity')::bigint, 0, 0 \
             FROM reservation, jsonb_array_elements(lines::jsonb) AS line WHERE status = 'reserved'"
        }
        _ => {
            "SELECT line.value->>'productId', 0, 0, 0, line.value->>'quantity', 0, 0 \
             FROM reservation, json_each(lines) AS line WHERE status = 'reserved'"
        }
    };
    let sums = ["intake", "available", "reserved", "held", "awaiting", "waited"]
        .map(|column| format!("CAST(SUM({column}) AS BIGINT) AS {column}"))
        .join(", ");
    format!(
        "SELECT product_id, {sums}, COUNT(*) OVER () AS wrong_total FROM (\
         SELECT product_id, 0 AS intake, available, reserved, 0 AS held, awaiting, 0 AS waited FROM product \
         UNION ALL SELECT product_id, pieces, 0, 0, 0, 0, 0 FROM intake \
         UNION ALL {held} \
         UNION ALL SELECT product_id, 0, 0, 0, 0, 0, quantity FROM waiting_line\
         ) AS entries GROUP BY product_id \
         HAVING SUM(available) + SUM(reserved) <> SUM(intake) OR SUM(reserved) <> SUM(held) \
         OR SUM(awaiting) <> SUM(waited) ORDER BY product_id LIMIT {MAX_NAMED}"
    )
}
