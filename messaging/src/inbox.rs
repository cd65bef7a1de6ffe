//! The inbox table: which messages have been handled.
//!
//! The insert is the first statement of every transaction that handles messages, and yields the first deliveries.
//! Code behind it cannot see a duplicate. On SQLite it also takes the write lock before anything is read.

use std::collections::HashSet;

use sea_orm::sea_query::{Expr, ExprTrait, InsertStatement, OnConflict, Query};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, Insert, QueryTrait};
use uuid::Uuid;

use crate::statement::chunks;

/// The table `inbox`.
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// A message that has been handled.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "inbox")]
    pub struct Model {
        /// The message's id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub message_id: Uuid,
        /// When it was handled, in milliseconds since 1970.
        pub received_at: i64,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Records messages as handled and returns whether none had been before. Where it returns false, the transaction is to be
/// rolled back: which of them were new is not known.
pub(crate) async fn are_all_new(tx: &DatabaseTransaction, mut ids: Vec<Uuid>, now: i64) -> Result<bool, DbErr> {
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() < count {
        return Ok(false);
    }
    for chunk in chunks(ids) {
        let size = chunk.len() as u64;
        if tx.execute(&insertion(chunk, now)).await?.rows_affected() < size {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Records messages as handled and returns those that had not been before.
pub(crate) async fn first_deliveries(
    tx: &DatabaseTransaction,
    mut ids: Vec<Uuid>,
    now: i64,
) -> Result<HashSet<Uuid>, DbErr> {
    // One order for all instances, so that two transactions cannot wait for each other's rows.
    ids.sort_unstable();
    ids.dedup();
    let mut first = HashSet::with_capacity(ids.len());
    for chunk in chunks(ids) {
        let mut insert = insertion(chunk, now);
        insert.returning_col(entity::Column::MessageId);
        for row in tx.query_all(&insert).await? {
            first.insert(row.try_get("", "message_id")?);
        }
    }
    Ok(first)
}

fn insertion(ids: Vec<Uuid>, now: i64) -> InsertStatement {
    let rows = ids.into_iter().map(|id| entity::ActiveModel { message_id: Set(id), received_at: Set(now) });
    let known = OnConflict::column(entity::Column::MessageId).do_nothing().to_owned();
    Insert::many(rows).on_conflict(known).into_query()
}

/// Deletes at most `limit` rows older than `before` and returns how many.
pub(crate) async fn prune(connection: &impl ConnectionTrait, before: i64, limit: u64) -> Result<u64, DbErr> {
    let old = Query::select()
        .column(entity::Column::MessageId)
        .from(entity::Entity)
        .and_where(Expr::col(entity::Column::ReceivedAt).lt(before))
        .limit(limit)
        .to_owned();
    let delete = entity::Entity::delete_many()
        .into_query()
        .and_where(Expr::col(entity::Column::MessageId).in_subquery(old))
        .to_owned();
    Ok(connection.execute(&delete).await?.rows_affected())
}
