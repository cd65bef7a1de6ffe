//! Ownership of pending batches: which instance publishes them, and the takeover from instances that are gone.
//!
//! Each instance has a new id at each start and writes it into the batches that it commits. While it publishes, it
//! increments a beat in `outbox_owners`. If the other instances have read an unchanged beat six times, 2 s apart, its
//! instance counts as gone: one of them deletes its id and takes over its batches. Clocks are not compared with each
//! other, and time in which the observer itself was frozen or without its database does not count.
//!
//! An instance that was only frozen continues under its id and publishes its in-memory messages once more: as many as
//! may be in flight, with the same ids (ADR 25).

use std::collections::HashMap;

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::outbound::in_flight::ACK_TIMEOUT;
use crate::outbound::outbox::first_row_id;
use crate::outbound::outbox_pending::entity::{Column as Batch, Entity as PendingBatches};

/// The SeaORM entity of the table `outbox_owners`.
#[doc(hidden)]
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// An instance that publishes.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "outbox_owners")]
    pub struct Model {
        /// Its id, new at each start.
        #[sea_orm(primary_key, auto_increment = false)]
        pub owner_id: Uuid,
        /// A counter that grows while the instance runs.
        pub beat: i64,
    }

    /// SeaORM requires this type; the table has no relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use entity::{Column, Entity};

/// The number of unchanged reads of a beat after which its instance counts as gone: at one read per 2 s, at least 10 s.
const MAX_UNCHANGED: u32 = 6;
/// The number of reads between two scans for batches without an owner: those of an earlier version, and of an instance
/// that ended before its first beat.
const READS_PER_SCAN: u32 = 15;

/// The beats of the other instances.
#[derive(Default)]
pub(crate) struct Owners {
    seen: HashMap<Uuid, (i64, u32)>,
    reads: u32,
}

impl Owners {
    /// Reads the beats, and takes over the batches of instances that are gone; returns the number of batches.
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
        // Younger batches may belong to an instance before its first beat.
        let (before, from) = (first_row_id(now - ACK_TIMEOUT), first_row_id(now + ACK_TIMEOUT));
        let is_old = Batch::FirstRowId.lt(before).or(Batch::FirstRowId.gte(from));
        adopt(db, owner, Some(is_old)).await
    }
}

/// Writes the beat of an instance.
pub(crate) async fn beat(connection: &impl ConnectionTrait, owner: Uuid) -> Result<(), DbErr> {
    let next = Expr::col((Entity, Column::Beat)).add(1);
    let known = OnConflict::column(Column::OwnerId).value(Column::Beat, next).to_owned();
    let first = entity::ActiveModel { owner_id: Set(owner), beat: Set(0) };
    Entity::insert(first).on_conflict(known).exec_without_returning(connection).await.map(drop)
}

/// Makes an instance the owner of batches without a known owner, if they satisfy a condition; returns the number of
/// batches.
pub(crate) async fn adopt(
    connection: &impl ConnectionTrait,
    owner: Uuid,
    condition: Option<Expr>,
) -> Result<u64, DbErr> {
    let known = Query::select().column(Column::OwnerId).from(Entity).to_owned();
    let orphaned = Batch::Owner.is_null().or(Batch::Owner.not_in_subquery(known));
    let mut adopt = PendingBatches::update_many().col_expr(Batch::Owner, Expr::value(owner)).filter(orphaned);
    if let Some(condition) = condition {
        adopt = adopt.filter(condition);
    }
    Ok(adopt.exec(connection).await?.rows_affected)
}

/// Removes an instance that is shutting down.
pub(crate) async fn leave(db: &DatabaseConnection, owner: Uuid) -> Result<(), DbErr> {
    Entity::delete_by_id(owner).exec(db).await.map(drop)
}

/// Removes all instances: for a database that a single process uses.
pub(crate) async fn leave_all(connection: &impl ConnectionTrait) -> Result<(), DbErr> {
    Entity::delete_many().exec(connection).await.map(drop)
}
