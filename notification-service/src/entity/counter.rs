//! The table `notification_counters`: one row, the sequence of the last notification.
//!
//! A transaction that writes notifications takes their sequences from it and so locks its row until the commit: the
//! next writer waits. Sequences therefore become visible in order, and a reader that continues after the last one it
//! has read misses none. An autoincrement or serial column cannot guarantee that: on PostgreSQL a transaction with a
//! lower value may commit later, unnoticed by the reader.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

/// The one row of the counter.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notification_counters")]
pub struct Model {
    /// Always [`ID`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// The highest sequence that is taken; 0 if none is.
    pub last_sequence: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The id of the one row.
pub const ID: i64 = 1;

/// Takes the next `count` sequences, and locks the counter until the transaction ends. Returns the first of them.
///
/// # Errors
///
/// The database's error.
pub async fn take(tx: &DatabaseTransaction, count: i64) -> Result<i64, DbErr> {
    let rows = Entity::update_many()
        .col_expr(Column::LastSequence, Expr::col(Column::LastSequence).add(count))
        .filter(Column::Id.eq(ID))
        .exec_with_returning(tx)
        .await?;
    let row = rows.first().ok_or_else(|| DbErr::RecordNotFound("the counter of notifications".to_owned()))?;
    Ok(row.last_sequence - count + 1)
}

/// Returns the highest sequence that is committed; 0 if none is.
///
/// # Errors
///
/// The database's error.
pub async fn last(connection: &impl ConnectionTrait) -> Result<i64, DbErr> {
    Ok(Entity::find_by_id(ID).one(connection).await?.map_or(0, |row| row.last_sequence))
}
