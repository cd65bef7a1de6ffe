//! The table `delivery_issues`: failures, duplicates, and dead letters, per message.
//!
//! A message that is handled at its first delivery has no row here. A message that failed, was a duplicate, or was
//! dead-lettered has one, for as long as the inbox remembers it. The row decides whether a dead letter may be redriven:
//! it records the dead-lettering, and a redrive marks it in the transaction that handles the message.

use std::collections::HashSet;

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Func, OnConflict, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    QuerySelect,
};
use uuid::Uuid;

use crate::state::statement;

/// The SeaORM entity of the table `delivery_issues`.
#[doc(hidden)]
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// The delivery issues of one message.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "delivery_issues")]
    pub struct Model {
        /// The id under which the inbox records the message.
        #[sea_orm(primary_key, auto_increment = false)]
        pub message_id: Uuid,
        /// The last token of its subject.
        pub key: String,
        /// The subject of the message.
        pub subject: String,
        /// The stream that delivered it.
        pub stream: String,
        /// Its stream sequence, at the last delivery recorded here.
        pub sequence: i64,
        /// How often the handler failed on it.
        pub failures: i64,
        /// When it failed last, in milliseconds since 1970.
        pub failed_at: Option<i64>,
        /// The error's text at that failure.
        pub detail: Option<String>,
        /// How often it was delivered again after it was handled, and dropped.
        pub duplicates: i64,
        /// When the last duplicate arrived, in milliseconds since 1970.
        pub duplicate_at: Option<i64>,
        /// When it became a dead letter, in milliseconds since 1970.
        pub dead_lettered_at: Option<i64>,
        /// Why, as the text form of a [`Reason`](crate::wire::reason::Reason).
        pub reason: Option<String>,
        /// When a redrive handled it, in milliseconds since 1970.
        pub redriven_at: Option<i64>,
        /// When this row was last written, in milliseconds since 1970.
        pub updated_at: i64,
    }

    /// SeaORM requires this type; the table has no relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use entity::{Column, Entity, Model};

/// Writes one row per message and merges it with an existing one: counts are added, and new times and reasons replace
/// earlier ones.
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

/// Marks dead-lettered messages as redriven, in the caller's transaction; returns those that were not redriven before.
///
/// A second call for the same messages, in this transaction or another one, returns none.
pub(crate) async fn mark_redriven(
    tx: &DatabaseTransaction,
    ids: Vec<Uuid>,
    now: i64,
) -> Result<HashSet<Uuid>, DbErr> {
    let ids = statement::distinct(ids);
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

/// Returns those of the messages that were redriven.
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
