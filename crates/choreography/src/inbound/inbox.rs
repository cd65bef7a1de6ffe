//! The inbox table: the messages that were handled.
//!
//! The insert is the first statement of every transaction that handles messages, and returns the first deliveries. Code
//! after it never sees a duplicate. On SQLite it also takes the write lock before anything is read.

use std::cmp::Reverse;
use std::collections::HashSet;

use sea_orm::sea_query::{Alias, Expr, ExprTrait, OnConflict, Query};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, Insert, QueryTrait};
use uuid::Uuid;

use crate::state::statement::{self, chunks};

/// The SeaORM entity of the table `inbox`.
#[doc(hidden)]
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// A message that was handled.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "inbox")]
    pub struct Model {
        /// The id of the handled message.
        #[sea_orm(primary_key, auto_increment = false)]
        pub message_id: Uuid,
        /// When the stream stored it, by the server's clock, in milliseconds since 1970: this bounds how long it can be
        /// redelivered. For a message that was stored more than once, the latest time.
        pub received_at: i64,
    }

    /// SeaORM requires this type; the table has no relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use entity::{ActiveModel, Column, Entity};

/// A delivery, as the inbox records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) id: Uuid,
    /// When the stream stored it, in milliseconds since 1970.
    pub(crate) at: i64,
}

/// Records messages as handled and returns whether all are new. If it returns false, roll the transaction back: which
/// of them were new is unknown.
pub(crate) async fn are_all_new(tx: &DatabaseTransaction, received: &[Received]) -> Result<bool, DbErr> {
    let rows = sorted(received);
    if rows.len() < received.len() {
        return Ok(false);
    }
    for chunk in chunks(rows) {
        let size = chunk.len() as u64;
        let known = OnConflict::column(Column::MessageId).do_nothing().to_owned();
        let insert = Insert::many(chunk.into_iter().map(row)).on_conflict(known).into_query();
        if tx.execute(&insert).await?.rows_affected() < size {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Records messages as handled and returns those that are new. The row of a known message is kept as long as the stream
/// may deliver this copy of it.
pub(crate) async fn first_deliveries(
    tx: &DatabaseTransaction,
    received: &[Received],
) -> Result<HashSet<Uuid>, DbErr> {
    let rows = sorted(received);
    let first = statement::insert_new(tx, rows.iter().copied().map(row).collect(), Column::MessageId).await?;
    let repeated = rows.into_iter().filter(|received| !first.contains(&received.id)).map(row).collect();
    let later = Expr::col((Alias::new("excluded"), Column::ReceivedAt)).gt(Expr::col((Entity, Column::ReceivedAt)));
    let mut renewed = OnConflict::column(Column::MessageId);
    renewed.update_column(Column::ReceivedAt).action_and_where(later);
    statement::insert(tx, repeated, Some(renewed)).await?;
    Ok(first)
}

/// Returns each message once, with its latest time. All instances use the same order, so that two transactions cannot
/// deadlock on each other's rows.
fn sorted(received: &[Received]) -> Vec<Received> {
    let mut rows = received.to_vec();
    rows.sort_unstable_by_key(|row| (row.id, Reverse(row.at)));
    rows.dedup_by_key(|row| row.id);
    rows
}

fn row(received: Received) -> ActiveModel {
    ActiveModel { message_id: Set(received.id), received_at: Set(received.at) }
}

/// Deletes at most `limit` rows of messages stored before `before` and returns how many.
pub(crate) async fn prune(connection: &impl ConnectionTrait, before: i64, limit: u64) -> Result<u64, DbErr> {
    let old = Query::select()
        .column(Column::MessageId)
        .from(Entity)
        .and_where(Expr::col(Column::ReceivedAt).lt(before))
        .limit(limit)
        .to_owned();
    let delete =
        Entity::delete_many().into_query().and_where(Expr::col(Column::MessageId).in_subquery(old)).to_owned();
    Ok(connection.execute(&delete).await?.rows_affected())
}
