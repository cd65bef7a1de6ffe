//! Which instance publishes which pending batches, and who takes over those of an instance that is gone.
//!
//! Each instance has a new id at each start and writes it into the batches it commits. While it publishes it counts up a
//! beat in `outbox_owners`. An instance whose beat the others have read unchanged six times, 2 s apart, counts as gone:
//! one of them removes its id and takes its batches over. No clock is compared with another one, and time in which the
//! observer itself was frozen or without its database does not count.
//!
//! An instance that was only frozen goes on under its id and publishes what it has in memory once more: as many
//! messages as may be in flight, with the same ids (ADR 25).

use std::collections::HashMap;

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::in_flight::ACK_TIMEOUT;
use crate::outbox::first_row_id;
use crate::outbox_pending::entity::{Column as Range, Entity as PendingBatches};

/// The table `outbox_owners`.
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// An instance that publishes.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "outbox_owners")]
    pub struct Model {
        /// Its id, new at each start.
        #[sea_orm(primary_key, auto_increment = false)]
        pub owner_id: Uuid,
        /// A number that grows while it lives.
        pub beat: i64,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use entity::{Column, Entity};

/// Reads of an unchanged beat after which its instance counts as gone: with one each 2 s, at least 10 s.
const MAX_UNCHANGED: u32 = 6;
/// Reads between two looks for batches without an owner: those of a version before this one, and of an instance that
/// ended before its first beat.
const READS_PER_SCAN: u32 = 15;

/// The beats of the other instances.
#[derive(Default)]
pub(crate) struct Owners {
    seen: HashMap<Uuid, (i64, u32)>,
    reads: u32,
}

impl Owners {
    /// Reads the beats, and takes over the batches of instances that are gone; returns of how many batches.
    pub(crate) async fn take_over(
        &mut self,
        db: &DatabaseConnection,
        owner: Uuid,
        now: OffsetDateTime,
    ) -> Result<u64, DbErr> {
        let others = Entity::find().filter(Column::OwnerId.ne(owner)).all(db).await?;
        self.seen.retain(|id, _| others.iter().any(|other| other.owner_id == *id));
        self.reads += 1;
        let mut gone = Vec::new();
        for other in others {
            let seen = self.seen.entry(other.owner_id).or_insert((other.beat, 0));
            *seen = (other.beat, if seen.0 == other.beat { seen.1 + 1 } else { 1 });
            if seen.1 >= MAX_UNCHANGED {
                gone.push(other);
            }
        }
        let mut removed = 0;
        for gone in gone {
            let still = Column::OwnerId.eq(gone.owner_id).and(Column::Beat.eq(gone.beat));
            removed += Entity::delete_many().filter(still).exec(db).await?.rows_affected;
        }
        if removed == 0 && !self.reads.is_multiple_of(READS_PER_SCAN) {
            return Ok(0);
        }
        // What is younger may be of an instance that has not beaten yet.
        let (before, from) = (first_row_id(now - ACK_TIMEOUT), first_row_id(now + ACK_TIMEOUT));
        let is_old = Range::FirstRowId.lt(before).or(Range::FirstRowId.gte(from));
        adopt(db, owner, Some(is_old)).await
    }
}

/// Writes that an instance lives.
pub(crate) async fn beat(connection: &impl ConnectionTrait, owner: Uuid) -> Result<(), DbErr> {
    let next = Expr::col((Entity, Column::Beat)).add(1);
    let known = OnConflict::column(Column::OwnerId).value(Column::Beat, next).to_owned();
    let first = entity::ActiveModel { owner_id: Set(owner), beat: Set(0) };
    Entity::insert(first).on_conflict(known).exec_without_returning(connection).await.map(drop)
}

/// Makes an instance the owner of batches whose owner is not known (any more), as far as a condition holds; returns how
/// many.
pub(crate) async fn adopt(
    connection: &impl ConnectionTrait,
    owner: Uuid,
    condition: Option<Expr>,
) -> Result<u64, DbErr> {
    let known = Query::select().column(Column::OwnerId).from(Entity).to_owned();
    let orphaned = Range::Owner.is_null().or(Range::Owner.not_in_subquery(known));
    let mut adopt = PendingBatches::update_many().col_expr(Range::Owner, Expr::value(owner)).filter(orphaned);
    if let Some(condition) = condition {
        adopt = adopt.filter(condition);
    }
    Ok(adopt.exec(connection).await?.rows_affected)
}

/// Removes an instance that ends.
pub(crate) async fn leave(db: &DatabaseConnection, owner: Uuid) -> Result<(), DbErr> {
    Entity::delete_by_id(owner).exec(db).await.map(drop)
}

/// Removes all instances: for a database that only one of them has.
pub(crate) async fn leave_all(connection: &impl ConnectionTrait) -> Result<(), DbErr> {
    Entity::delete_many().exec(connection).await.map(drop)
}
