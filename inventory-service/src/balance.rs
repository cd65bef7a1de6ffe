//! The books of the stock: what came in is written down apart from what becomes of it, and held against it.

use std::collections::BTreeMap;

use contracts::query::{MAX_NAMED, ProductBalance, StockBalance};
use messaging::query::QueryError;
use messaging::statement;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, OnConflict};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, EntityTrait, FromQueryResult, PaginatorTrait, Statement,
};

use crate::entity::{intake, product};

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

/// Answers with what does not add up; one statement, so that it is of one moment.
///
/// # Errors
///
/// The database's error.
pub async fn balance(db: DatabaseConnection) -> Result<StockBalance, QueryError> {
    let backend = db.get_database_backend();
    let wrong = Row::find_by_statement(Statement::from_string(backend, books(backend))).all(&db).await?;
    let products = product::Entity::find().count(&db).await?;
    let wrong_total = wrong.first().map_or(0, |row| row.wrong_total.unsigned_abs());
    Ok(StockBalance { products, wrong_total, wrong: wrong.into_iter().map(ProductBalance::from).collect() })
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
