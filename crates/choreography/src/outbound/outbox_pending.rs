//! The table `outbox_pending`: the outbox rows that no stream has acknowledged.
//!
//! Rows are written a batch at a time and usually acknowledged together. So the table stores one *pending batch* for
//! the rows of a transaction (one per 256 rows): a range of row ids, which is inserted with the rows and deleted after
//! their acknowledgement. A flag per outbox row would write every row twice. If the stream stores only a part of a
//! batch, each remaining row becomes a batch of its own (ADR 20).
//!
//! A pending batch belongs to the instance that committed it or took it over ([`crate::outbound::owner`]). A row that its stream
//! can never store is a batch with a refusal: it is published again only if an operator redrives its dead letter (ADR
//! 25).

use std::collections::{HashMap, HashSet};

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::outbound::outbox::{self, OutboxRow};
use crate::state::statement;

/// The SeaORM entity of the table `outbox_pending`.
#[doc(hidden)]
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// A pending batch: outbox rows that were written together.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "outbox_pending")]
    pub struct Model {
        /// The id of the first row.
        #[sea_orm(primary_key, auto_increment = false)]
        pub first_row_id: Uuid,
        /// The id of the last row.
        pub last_row_id: Uuid,
        /// The instance that publishes them; `None` if a version without owners wrote them.
        pub owner: Option<Uuid>,
        /// Why the stream can never store the row; a batch with a refusal has one row.
        pub refusal: Option<String>,
    }

    /// SeaORM requires this type; the table has no relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use entity::{Column, Entity, Model};

/// The maximum number of rows per pending batch, and so the cost of reading one. Their ids differ in their last 16
/// bits.
pub(crate) const MAX_BATCH_ROWS: usize = 256;

/// Outcomes of pending batches that are not written to the database yet.
#[derive(Debug, Default)]
pub(crate) struct PublishOutcomes {
    /// The instance that owns the remaining rows.
    pub(crate) owner: Uuid,
    /// The first row ids of settled batches.
    pub(crate) over: Vec<Uuid>,
    /// Rows that the stream did not store, although it stored others of their batch.
    pub(crate) left: Vec<Uuid>,
    /// Rows that their stream can never store.
    pub(crate) unpublishable: Vec<Unpublishable>,
}

impl PublishOutcomes {
    /// Returns the settled batches in the order in which every instance deletes them.
    fn over_in_order(&self) -> Vec<Uuid> {
        let mut over = self.over.clone();
        over.sort_unstable();
        over
    }
}

/// A row that its stream can never store.
#[derive(Debug, Clone)]
pub(crate) struct Unpublishable {
    pub(crate) row: Uuid,
    /// Why the stream refuses it.
    pub(crate) reason: String,
    /// Its dead letter, not written yet; `None` if the row is a dead letter itself.
    pub(crate) dead_letter: Option<OutboxRow>,
}

impl PublishOutcomes {
    pub(crate) fn is_empty(&self) -> bool {
        self.over.is_empty() && self.left.is_empty() && self.unpublishable.is_empty()
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.over.extend(more.over);
        self.left.extend(more.left);
        self.unpublishable.extend(more.unpublishable);
    }
}

/// Assigns row ids and writes the rows as pending, owned by an instance; the caller commits.
pub(crate) async fn write(
    connection: &impl ConnectionTrait,
    rows: &mut [OutboxRow],
    owner: Uuid,
) -> Result<(), DbErr> {
    number(rows);
    let models = rows.iter().map(OutboxRow::to_model).collect::<Result<Vec<_>, _>>()?;
    statement::insert(connection, models, None).await?;
    insert(connection, rows, owner).await
}

/// Assigns row ids: those of a batch are a time-ordered UUID and its successors.
fn number(rows: &mut [OutboxRow]) {
    for batch in rows.chunks_mut(MAX_BATCH_ROWS) {
        // The cleared bits are random (RFC 9562, section 6.2); the time and a counter precede them.
        let first = outbox::next_row_id().as_u128() & !0xffff;
        for (row, index) in batch.iter_mut().zip(0..) {
            (row.row_id, row.batch) = (Uuid::from_u128(first + index), Uuid::from_u128(first));
        }
    }
}

/// Inserts the pending batches of rows that have row ids.
async fn insert(connection: &impl ConnectionTrait, rows: &[OutboxRow], owner: Uuid) -> Result<(), DbErr> {
    let batches = rows.chunk_by(|one, next| one.batch == next.batch).filter_map(|batch| {
        let last = batch.last()?;
        Some(model(last.batch, last.row_id, owner, None))
    });
    statement::insert(connection, batches.collect(), None).await
}

fn model(first: Uuid, last: Uuid, owner: Uuid, refusal: Option<String>) -> entity::ActiveModel {
    entity::ActiveModel {
        first_row_id: Set(first),
        last_row_id: Set(last),
        owner: Set(Some(owner)),
        refusal: Set(refusal),
    }
}

/// Writes the outcomes of publishing; the caller commits.
///
/// All instances use the order of ids, so that two that write the same outcomes do not deadlock.
pub(crate) async fn record(connection: &impl ConnectionTrait, outcomes: &PublishOutcomes) -> Result<(), DbErr> {
    for chunk in statement::padded_chunks(&outcomes.over_in_order()) {
        Entity::delete_many().filter(Column::FirstRowId.is_in(chunk)).exec(connection).await?;
    }
    let left = outcomes.left.iter().map(|row| (*row, None));
    let unpublishable = outcomes.unpublishable.iter().map(|row| (row.row, Some(row.reason.clone())));
    let mut single: Vec<_> = left.chain(unpublishable).collect();
    single.sort_unstable_by_key(|(row, _)| *row);
    single.dedup_by_key(|(row, _)| *row);
    let single = single.into_iter().map(|(row, refusal)| model(row, row, outcomes.owner, refusal));
    let known = OnConflict::column(Column::FirstRowId).do_nothing().to_owned();
    statement::insert(connection, single.collect(), Some(known)).await?;
    let mut dead_letters: Vec<_> =
        outcomes.unpublishable.iter().filter_map(|row| row.dead_letter.clone()).collect();
    write(connection, &mut dead_letters, outcomes.owner).await
}

/// The batches that a scan looks for: those of one owner, written before one row id or from another one on.
///
/// A batch with a time in the future was written by an instance whose clock was ahead. That instance may be gone and
/// the time far away, so the scan includes the batch now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) owner: Uuid,
    pub(crate) before: Uuid,
    pub(crate) from: Uuid,
    /// The batch after which to continue.
    pub(crate) after: Option<Uuid>,
}

/// One part of a scan.
pub(crate) struct Found {
    /// The rows in the order of writing.
    pub(crate) rows: Vec<OutboxRow>,
    /// The batches without any row in the outbox.
    pub(crate) empty: Vec<Uuid>,
    /// The last batch; `None` if there was none.
    pub(crate) last: Option<Uuid>,
}

/// Returns the next batches with their rows: as many as have at most `limit` rows, but at least one.
pub(crate) async fn find(connection: &impl ConnectionTrait, wanted: Wanted, limit: u128) -> Result<Found, DbErr> {
    let is_wanted = Column::Owner
        .eq(wanted.owner)
        .and(Column::Refusal.is_null())
        .and(Column::FirstRowId.lt(wanted.before).or(Column::FirstRowId.gte(wanted.from)));
    let is_next = wanted.after.map(|after| Column::FirstRowId.gt(after));
    let mut select = Entity::find().filter(is_wanted.clone());
    if let Some(is_next) = is_next {
        select = select.filter(is_next);
    }
    let mut batches = select.order_by_asc(Column::FirstRowId).limit(MAX_BATCH_ROWS as u64).all(connection).await?;
    let mut rows = 0;
    let fits = |batch: &Model| {
        rows += batch.last_row_id.as_u128().saturating_sub(batch.first_row_id.as_u128()) + 1;
        rows <= limit
    };
    let count = batches.iter().map(fits).take_while(|fits| *fits).count().max(1);
    batches.truncate(count);
    let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
        return Ok(Found { rows: Vec::new(), empty: Vec::new(), last: None });
    };
    let mut select = outbox::entity::Entity::find();
    QueryTrait::query(&mut select).inner_join(Entity, in_pending_batch());
    let models = select
        .filter(Column::FirstRowId.between(first.first_row_id, last.first_row_id))
        .filter(is_wanted)
        .order_by_asc(outbox::entity::Column::RowId)
        .all(connection)
        .await?;
    let mut rows = Vec::with_capacity(models.len());
    for model in models {
        let batch = batches.partition_point(|batch| batch.first_row_id <= model.row_id);
        let batch = batch.checked_sub(1).and_then(|place| batches.get(place));
        rows.push(OutboxRow::from_model(model, batch.map_or(Uuid::nil(), |batch| batch.first_row_id))?);
    }
    let last = Some(last.first_row_id);
    let with_rows: HashSet<Uuid> = rows.iter().map(|row| row.batch).collect();
    let empty = batches.into_iter().map(|batch| batch.first_row_id).filter(|batch| !with_rows.contains(batch));
    Ok(Found { rows, empty: empty.collect(), last })
}

/// Deletes batches that have no row in the outbox; returns how many. Batches settled meanwhile are already deleted.
pub(crate) async fn delete_without_rows(
    connection: &impl ConnectionTrait,
    batches: Vec<Uuid>,
) -> Result<u64, DbErr> {
    let row =
        Query::select().expr(Expr::value(1)).from(outbox::entity::Entity).and_where(in_pending_batch()).to_owned();
    let deleted = Entity::delete_many()
        .filter(Column::FirstRowId.is_in(batches))
        .filter(Expr::exists(row).not())
        .exec(connection)
        .await?;
    Ok(deleted.rows_affected)
}

/// Makes a row that its stream refused pending again; returns whether it was refused.
pub(crate) async fn publish_again(
    connection: &impl ConnectionTrait,
    row: Uuid,
    owner: Uuid,
) -> Result<bool, DbErr> {
    let updated = Entity::update_many()
        .col_expr(Column::Refusal, Expr::value(Option::<String>::None))
        .col_expr(Column::Owner, Expr::value(owner))
        .filter(Column::FirstRowId.eq(row))
        .filter(Column::Refusal.is_not_null())
        .exec(connection)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Returns the number of rows that their streams can never store.
///
/// # Errors
///
/// The database's error.
pub async fn unpublishable(connection: &impl ConnectionTrait) -> Result<u64, DbErr> {
    Entity::find().filter(Column::Refusal.is_not_null()).count(connection).await
}

/// Deletes refused batches written before `before`, so that the outbox deletes their rows as well.
async fn prune(connection: &impl ConnectionTrait, before: OffsetDateTime) -> Result<(), DbErr> {
    let old = Column::FirstRowId.lt(outbox::first_row_id(before)).and(Column::Refusal.is_not_null());
    Entity::delete_many().filter(old).exec(connection).await.map(drop)
}

/// Deletes at most `limit` rows written before `before` that are not pending, and returns how many.
pub(crate) async fn prune_outbox(
    connection: &impl ConnectionTrait,
    before: OffsetDateTime,
    limit: u64,
) -> Result<u64, DbErr> {
    prune(connection, before).await?;
    let old = Query::select()
        .column(outbox::entity::Column::RowId)
        .from(outbox::entity::Entity)
        .and_where(Expr::col(outbox::entity::Column::RowId).lt(outbox::first_row_id(before)))
        .and_where(in_no_pending_batch())
        .limit(limit)
        .to_owned();
    let delete = outbox::entity::Entity::delete_many()
        .into_query()
        .and_where(Expr::col(outbox::entity::Column::RowId).in_subquery(old))
        .to_owned();
    Ok(connection.execute(&delete).await?.rows_affected())
}

/// Returns the condition that an outbox row is in a pending batch.
pub(crate) fn in_pending_batch() -> Expr {
    let row = Expr::col((outbox::entity::Entity, outbox::entity::Column::RowId));
    row.between(Expr::col((Entity, Column::FirstRowId)), Expr::col((Entity, Column::LastRowId)))
}

/// Returns which of these outbox rows their streams can never store, with the reasons.
pub(crate) async fn refusals(
    connection: &impl ConnectionTrait,
    rows: Vec<Uuid>,
) -> Result<HashMap<Uuid, String>, DbErr> {
    let refused = statement::select_in::<Entity, _>(connection, Column::FirstRowId, &rows).await?;
    Ok(refused.into_iter().filter_map(|batch| Some((batch.first_row_id, batch.refusal?))).collect())
}

/// Returns the condition that an outbox row is in no pending batch: that the stream has stored it.
pub(crate) fn in_no_pending_batch() -> Expr {
    Expr::exists(Query::select().expr(Expr::value(1)).from(Entity).and_where(in_pending_batch()).to_owned()).not()
}

/// Returns the number of outbox rows that are not acknowledged, without those that can never be stored.
///
/// # Errors
///
/// The database's error.
pub async fn depth(connection: &impl ConnectionTrait) -> Result<u64, DbErr> {
    let rows = Query::select()
        .expr(Expr::col((outbox::entity::Entity, outbox::entity::Column::RowId)).count())
        .from(Entity)
        .inner_join(outbox::entity::Entity, in_pending_batch())
        .and_where(Expr::col((Entity, Column::Refusal)).is_null())
        .to_owned();
    let row = connection.query_one(&rows).await?;
    let depth: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
    Ok(depth.unsigned_abs())
}

/// Returns when the oldest of those rows was written, in milliseconds since 1970.
///
/// # Errors
///
/// The database's error.
pub async fn oldest(connection: &impl ConnectionTrait) -> Result<Option<i64>, DbErr> {
    let pending = Entity::find().filter(Column::Refusal.is_null());
    let first = pending.order_by_asc(Column::FirstRowId).one(connection).await?;
    Ok(first.map(|batch| outbox::written_at(batch.first_row_id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_instances_delete_the_same_batches_in_the_same_order() {
        let ids: Vec<Uuid> = (0..1000).map(Uuid::from_u128).collect();
        let mut over = ids.clone();
        over.reverse();
        over.swap(3, 500);
        let chunks = |outcomes: &PublishOutcomes| -> Vec<Uuid> {
            statement::padded_chunks(&outcomes.over_in_order()).flat_map(|chunk| chunk.to_vec()).collect()
        };
        let (one, other) = (
            PublishOutcomes { over, ..PublishOutcomes::default() },
            PublishOutcomes { over: ids, ..PublishOutcomes::default() },
        );
        assert_eq!(chunks(&one), chunks(&other));
        assert!(chunks(&one).is_sorted());
    }
}
