//! The units of each product at any time of the last 30 days.
//!
//! A row per transaction and changed product. Old rows go when their product changes again; the newest one of them stays,
//! because it still holds at the beginning of the 30 days.

use std::time::Duration;

use choreography::statement;
use contracts::ProductId;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, IntoColumnRef, Order, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    QueryOrder,
};

use crate::entity::product;
use crate::entity::stock_history::{ActiveModel, Column, Entity, Model};

/// How long the history is kept.
pub const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Expired rows that are deleted per new row: more than one, so that the table shrinks after a peak.
const EXPIRED_PER_NEW: u64 = 2;

/// Returns the beginning of the history at a time, both in milliseconds since 1970.
#[must_use]
pub fn beginning(now: i64) -> i64 {
    now - i64::try_from(RETENTION.as_millis()).unwrap_or(i64::MAX)
}

/// Records the rows of products that change now, and deletes expired rows of these products.
///
/// # Errors
///
/// The database's error.
pub(crate) async fn record(
    tx: &DatabaseTransaction,
    products: Vec<product::ActiveModel>,
    now: i64,
) -> Result<(), DbErr> {
    let mut ids = Vec::with_capacity(products.len());
    let mut rows = Vec::with_capacity(products.len());
    for product::ActiveModel { product_id, changed_at, available, reserved, backordered, .. } in products {
        ids.extend(product_id.try_as_ref().cloned());
        rows.push(ActiveModel { product_id, changed_at, available, reserved, backordered });
    }
    statement::insert(tx, rows, None).await?;
    for chunk in statement::padded_chunks(&ids) {
        prune(tx, &chunk, beginning(now)).await?;
    }
    Ok(())
}

/// Deletes rows of these products that another one from before `before` has replaced, the oldest first: what is left of a
/// product has no gap.
async fn prune(tx: &DatabaseTransaction, product_ids: &[String], before: i64) -> Result<(), DbErr> {
    let (old, newer) = (Alias::new("old"), Alias::new("newer"));
    let of = |table: &Alias, column: Column| (table.clone(), column).into_column_ref();
    let replaced = Query::select()
        .expr(Expr::value(1))
        .from_as(Entity, newer.clone())
        .and_where(Expr::col(of(&newer, Column::ProductId)).equals(of(&old, Column::ProductId)))
        .and_where(Expr::col(of(&newer, Column::ChangedAt)).gt(Expr::col(of(&old, Column::ChangedAt))))
        .and_where(Expr::col(of(&newer, Column::ChangedAt)).lte(before))
        .to_owned();
    let expired = Query::select()
        .columns([of(&old, Column::ProductId), of(&old, Column::ChangedAt)])
        .from_as(Entity, old.clone())
        .and_where(Expr::col(of(&old, Column::ProductId)).is_in(product_ids))
        .and_where(Expr::col(of(&old, Column::ChangedAt)).lt(before))
        .and_where(Expr::exists(replaced))
        .order_by(of(&old, Column::ChangedAt), Order::Asc)
        .limit(product_ids.len() as u64 * EXPIRED_PER_NEW)
        .to_owned();
    let key = Expr::tuple([Expr::col(Column::ProductId), Expr::col(Column::ChangedAt)]);
    let delete = Query::delete().from_table(Entity).and_where(key.in_subquery(expired)).to_owned();
    tx.execute(&delete).await.map(drop)
}

/// Returns the units of a product at a time, in milliseconds since 1970; `None` if it did not exist, or the time is before
/// the history.
///
/// # Errors
///
/// The database's error.
pub(crate) async fn at(db: &DatabaseConnection, id: &ProductId, time: i64) -> Result<Option<Model>, DbErr> {
    Entity::find()
        .filter(Column::ProductId.eq(id.as_str()))
        .filter(Column::ChangedAt.lte(time))
        .order_by_desc(Column::ChangedAt)
        .one(db)
        .await
}
