//! The table `unpublished`: which rows of the outbox the stream may not have.
//!
//! Rows are written a batch at a time and acknowledged together, as a rule. So what is kept is a *range* of row ids for
//! each batch: one small row goes in with the batch, and out again, where a mark on every row of the outbox would write all
//! of them twice. Of a range that the stream took a part of, the rest stays, each row as a range of its own (ADR 20).

use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::outbox::{self, OutboxRow};
use crate::statement;

/// The table `unpublished`.
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// Rows of the outbox that were written together.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "unpublished")]
    pub struct Model {
        /// The id of the first of them.
        #[sea_orm(primary_key, auto_increment = false)]
        pub first_row_id: Uuid,
        /// The id of the last of them.
        pub last_row_id: Uuid,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use entity::{Column, Entity, Model};

/// The most rows of a range, and so of what a range costs to look at. Their ids differ in their last 16 bits.
pub(crate) const MOST: usize = 256;

/// What has become of ranges, and is not written yet.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// The first row ids of ranges that are over.
    pub(crate) over: Vec<Uuid>,
    /// Rows that the stream did not take while it took others of their range.
    pub(crate) left: Vec<Uuid>,
}

impl Marks {
    pub(crate) fn is_empty(&self) -> bool {
        self.over.is_empty() && self.left.is_empty()
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.over.extend(more.over);
        self.left.extend(more.left);
    }
}

/// Writes that the stream does not have these rows yet; they are numbered.
pub(crate) async fn insert(connection: &impl ConnectionTrait, rows: &[OutboxRow]) -> Result<(), DbErr> {
    let ranges = rows.chunk_by(|one, next| one.range == next.range).filter_map(|range| {
        let last = range.last()?;
        Some(entity::ActiveModel { first_row_id: Set(last.range), last_row_id: Set(last.row_id) })
    });
    statement::insert(connection, ranges.collect(), None).await
}

/// Writes marks; the caller commits.
pub(crate) async fn mark(connection: &impl ConnectionTrait, marks: &Marks) -> Result<(), DbErr> {
    for chunk in statement::padded_chunks(&marks.over) {
        Entity::delete_many().filter(Column::FirstRowId.is_in(chunk)).exec(connection).await?;
    }
    let left = marks.left.iter().map(|row| entity::ActiveModel { first_row_id: Set(*row), last_row_id: Set(*row) });
    let known = OnConflict::column(Column::FirstRowId).do_nothing().to_owned();
    statement::insert(connection, left.collect(), Some(known)).await
}

/// Returns the oldest ranges that were not written within `grace` of `now`, and their rows in the order of writing: one
/// range, or as many as come to `limit` rows at the most.
///
/// A range from the future was written by a clock that was ahead. Whoever wrote it may be gone, and its time far away:
/// it does not wait for that.
pub(crate) async fn find(
    connection: &impl ConnectionTrait,
    now: OffsetDateTime,
    grace: Duration,
    limit: u128,
) -> Result<(Vec<Uuid>, Vec<OutboxRow>), DbErr> {
    let (before, behind) = (outbox::first_row_id(now - grace), outbox::first_row_id(now + grace));
    let is_due = Column::FirstRowId.lt(before).or(Column::FirstRowId.gte(behind));
    let mut ranges = Entity::find()
        .filter(is_due.clone())
        .order_by_asc(Column::FirstRowId)
        .limit(MOST as u64)
        .all(connection)
        .await?;
    let mut rows = 0;
    let fits = |range: &Model| {
        rows += range.last_row_id.as_u128().saturating_sub(range.first_row_id.as_u128()) + 1;
        rows <= limit
    };
    let most = ranges.iter().map(fits).take_while(|fits| *fits).count().max(1);
    ranges.truncate(most);
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return Ok((Vec::new(), Vec::new())) };
    let mut select = outbox::entity::Entity::find();
    QueryTrait::query(&mut select).inner_join(Entity, in_range());
    let models = select
        .filter(Column::FirstRowId.between(first.first_row_id, last.first_row_id))
        .filter(is_due)
        .order_by_asc(outbox::entity::Column::RowId)
        .all(connection)
        .await?;
    let mut rows = Vec::with_capacity(models.len());
    for model in models {
        let range = ranges.iter().rfind(|range| range.first_row_id <= model.row_id);
        let range = range.map_or(model.row_id, |range| range.first_row_id);
        rows.push(OutboxRow::from_model(model, range)?);
    }
    Ok((ranges.into_iter().map(|range| range.first_row_id).collect(), rows))
}

/// Returns the condition that a row of the outbox is in a range.
pub(crate) fn in_range() -> Expr {
    let row = Expr::col((outbox::entity::Entity, outbox::entity::Column::RowId));
    row.between(Expr::col((Entity, Column::FirstRowId)), Expr::col((Entity, Column::LastRowId)))
}

/// Returns the condition that a row of the outbox is in no range: that the stream has it.
pub(crate) fn in_no_range() -> Expr {
    Expr::exists(Query::select().expr(Expr::value(1)).from(Entity).and_where(in_range()).to_owned()).not()
}

/// Returns how many rows of the outbox the stream has not acknowledged.
///
/// # Errors
///
/// The database's error.
pub async fn depth(connection: &impl ConnectionTrait) -> Result<u64, DbErr> {
    let rows = Query::select()
        .expr(Expr::col((outbox::entity::Entity, outbox::entity::Column::RowId)).count())
        .from(Entity)
        .inner_join(outbox::entity::Entity, in_range())
        .to_owned();
    let row = connection.query_one(&rows).await?;
    let depth: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
    Ok(depth.unsigned_abs())
}

/// Returns when the oldest row was written that the stream has not acknowledged, in milliseconds since 1970.
///
/// # Errors
///
/// The database's error.
pub async fn oldest(connection: &impl ConnectionTrait) -> Result<Option<i64>, DbErr> {
    let first = Entity::find().order_by_asc(Column::FirstRowId).one(connection).await?;
    Ok(first.map(|range| outbox::written_at(range.first_row_id)))
}
