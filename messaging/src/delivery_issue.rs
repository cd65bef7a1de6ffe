//! The table `delivery_issues`: what a service remembers of messages that did not simply go well.
//!
//! A message that is handled at its first delivery leaves no row here. One that failed, came again, or was dead-lettered
//! does, and the row stays as long as the inbox remembers the message. Whether a dead letter may be handled after all
//! is decided by it: the row says that the message was dead-lettered, and a redrive takes that back in the transaction that
//! handles the message.

use std::collections::HashSet;

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Func, OnConflict, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    QuerySelect,
};
use uuid::Uuid;

use crate::statement;

/// The table `delivery_issues`.
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// What happened to one message, beside its being handled.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "delivery_issues")]
    pub struct Model {
        /// The id under which the inbox knows the message.
        #[sea_orm(primary_key, auto_increment = false)]
        pub message_id: Uuid,
        /// The last token of its subject.
        pub key: String,
        /// The subject it came on.
        pub subject: String,
        /// The stream it came from.
        pub stream: String,
        /// Its sequence there, of the last delivery that is told of here.
        pub sequence: i64,
        /// How often the handler failed it.
        pub failures: i64,
        /// When it did last, in milliseconds since 1970.
        pub failed_at: Option<i64>,
        /// What the handler said then.
        pub detail: Option<String>,
        /// How often it came again after it was handled, and was dropped.
        pub duplicates: i64,
        /// When it did last, in milliseconds since 1970.
        pub duplicate_at: Option<i64>,
        /// When it became a dead letter, in milliseconds since 1970.
        pub dead_lettered_at: Option<i64>,
        /// Why, as a word of [`Reason`](crate::dead_letter::Reason).
        pub reason: Option<String>,
        /// When a redrive handled it after all, in milliseconds since 1970.
        pub redriven_at: Option<i64>,
        /// When this row was written last, in milliseconds since 1970.
        pub updated_at: i64,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use entity::{Column, Entity, Model};

/// Writes what happened to messages, one row each, over what is known of them: counts are added, and times and reasons
/// replace earlier ones where they are given.
pub(crate) async fn record(connection: &impl ConnectionTrait, mut rows: Vec<Model>) -> Result<(), DbErr> {
    // One order for all instances, so that two transactions cannot wait for each other's rows.
    rows.sort_unstable_by_key(|row| row.message_id);
    let rows = rows.into_iter().map(|row| entity::ActiveModel {
        message_id: Set(row.message_id),
        key: Set(row.key),
        subject: Set(row.subject),
        stream: Set(row.stream),
        sequence: Set(row.sequence),
        failures: Set(row.failures),
        failed_at: Set(row.failed_at),
        detail: Set(row.detail),
        duplicates: Set(row.duplicates),
        duplicate_at: Set(row.duplicate_at),
        dead_lettered_at: Set(row.dead_lettered_at),
        reason: Set(row.reason),
        redriven_at: Set(row.redriven_at),
        updated_at: Set(row.updated_at),
    });
    statement::insert(connection, rows.collect(), Some(on_conflict())).await
}

fn on_conflict() -> OnConflict {
    let known = |column: Column| Expr::col((Entity, column));
    let new = |column: Column| Expr::col((Alias::new("excluded"), column));
    let sum = |column: Column| -> Expr { known(column).add(new(column)) };
    let latest = |column: Column| -> Expr { Func::coalesce([new(column), known(column)]).into() };
    let mut clause = OnConflict::column(Column::MessageId);
    for column in [Column::Failures, Column::Duplicates] {
        clause.value(column, sum(column));
    }
    for column in [
        Column::FailedAt,
        Column::Detail,
        Column::DuplicateAt,
        Column::DeadLetteredAt,
        Column::Reason,
        Column::RedrivenAt,
    ] {
        clause.value(column, latest(column));
    }
    clause.update_columns([Column::Sequence, Column::UpdatedAt]).to_owned()
}

/// Returns how often a message has failed.
pub(crate) async fn failures(connection: &impl ConnectionTrait, message_id: Uuid) -> Result<u64, DbErr> {
    let failures: Option<i64> =
        Entity::find_by_id(message_id).select_only().column(Column::Failures).into_tuple().one(connection).await?;
    Ok(failures.and_then(|failures| u64::try_from(failures).ok()).unwrap_or(0))
}

/// Takes back, in the caller's transaction, that messages were dead-lettered; returns those of which it is so.
///
/// Whoever asks second, in this transaction or in another one, gets none.
pub(crate) async fn mark_redriven(
    tx: &DatabaseTransaction,
    mut ids: Vec<Uuid>,
    now: i64,
) -> Result<HashSet<Uuid>, DbErr> {
    ids.sort_unstable();
    ids.dedup();
    let mut taken = HashSet::with_capacity(ids.len());
    for chunk in statement::padded_chunks(&ids) {
        let mut update = Query::update();
        update
            .table(Entity)
            .values([(Column::RedrivenAt, now.into()), (Column::UpdatedAt, now.into())])
            .and_where(Expr::col(Column::MessageId).is_in(chunk))
            .and_where(Expr::col(Column::DeadLetteredAt).is_not_null())
            .and_where(Expr::col(Column::RedrivenAt).is_null())
            .returning_col(Column::MessageId);
        for row in tx.query_all(&update).await? {
            taken.insert(row.try_get("", "message_id")?);
        }
    }
    Ok(taken)
}

/// Returns those of the messages that a redrive has handled.
pub(crate) async fn redriven(connection: &impl ConnectionTrait, ids: &[Uuid]) -> Result<HashSet<Uuid>, DbErr> {
    let mut redriven = HashSet::new();
    for chunk in statement::padded_chunks(ids) {
        let rows: Vec<Uuid> = Entity::find()
            .select_only()
            .column(Column::MessageId)
            .filter(Column::MessageId.is_in(chunk))
            .filter(Column::RedrivenAt.is_not_null())
            .into_tuple()
            .all(connection)
            .await?;
        redriven.extend(rows);
    }
    Ok(redriven)
}

/// Deletes at most `limit` rows not written since `before` and returns how many.
pub(crate) async fn prune(connection: &impl ConnectionTrait, before: i64, limit: u64) -> Result<u64, DbErr> {
    use sea_orm::QueryTrait;
    let old = Query::select()
        .column(Column::MessageId)
        .from(Entity)
        .and_where(Expr::col(Column::UpdatedAt).lt(before))
        .limit(limit)
        .to_owned();
    let delete =
        Entity::delete_many().into_query().and_where(Expr::col(Column::MessageId).in_subquery(old)).to_owned();
    Ok(connection.execute(&delete).await?.rows_affected())
}
