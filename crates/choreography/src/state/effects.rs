//! Idempotency keys for commands whose effects have no natural key.
//!
//! A reservation is identified by its order's id, however often its messages arrive. A restock only adds, and creating
//! an account restores a deleted one. So the ids of such commands are recorded here, in the transaction that applies
//! them. They are kept longer than inbox rows: longer than a command can be redelivered in any way, redrive included
//! (ADR 24).

use std::collections::HashSet;
use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryTrait};
use uuid::Uuid;

use crate::broker::clock;
use crate::state::statement;
use crate::wire::envelope::{Envelope, unix_millis};

/// The SeaORM entity of the table `effects`.
#[doc(hidden)]
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// A message whose effect was applied.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "effects")]
    pub struct Model {
        /// The id of the message whose effect was applied.
        #[sea_orm(primary_key, auto_increment = false)]
        pub message_id: Uuid,
        /// When its effect was applied, in milliseconds since 1970.
        pub recorded_at: i64,
    }

    /// SeaORM requires this type; the table has no relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use entity::{ActiveModel, Column, Entity};

/// How long an effect is remembered: longer than commands (7 days) and after that dead letters (30 days) are kept.
const RETENTION: Duration = Duration::from_secs(60 * 24 * 3600);
/// Expired rows that are deleted per new row: more than one, so that the table shrinks after a peak.
const EXPIRED_PER_NEW: u64 = 2;

/// Records the effects of a batch, and returns the batch without the messages whose effect was applied before.
///
/// `has_effect` selects the messages that need the key; all others stay. The number of statements depends on the
/// batch's size only through chunks of fixed sizes; a batch without such messages needs none.
///
/// # Errors
///
/// The database's error.
pub async fn without_repeated<'a, T>(
    tx: &DatabaseTransaction,
    batch: &[&'a Envelope<T>],
    has_effect: impl Fn(&T) -> bool,
) -> Result<Vec<&'a Envelope<T>>, DbErr> {
    let effective = batch.iter().filter(|message| has_effect(&message.payload));
    let ids = statement::distinct(effective.map(|message| message.id));
    if ids.is_empty() {
        return Ok(batch.to_vec());
    }
    let now = unix_millis(clock::now());
    let rows: Vec<ActiveModel> =
        ids.into_iter().map(|id| ActiveModel { message_id: Set(id), recorded_at: Set(now) }).collect();
    let count = rows.len() as u64;
    let mut new: HashSet<Uuid> = statement::insert_new(tx, rows, Column::MessageId).await?;
    let before = now - i64::try_from(RETENTION.as_millis()).unwrap_or(i64::MAX);
    prune(tx, before, count * EXPIRED_PER_NEW).await?;
    // Removed, so that a message delivered twice within one batch is handled once.
    let is_new = |message: &&&Envelope<T>| !has_effect(&message.payload) || new.remove(&message.id);
    Ok(batch.iter().filter(is_new).copied().collect())
}

/// Deletes at most `limit` rows recorded before `before`, oldest first.
async fn prune(tx: &DatabaseTransaction, before: i64, limit: u64) -> Result<(), DbErr> {
    let expired = Query::select()
        .column(Column::MessageId)
        .from(Entity)
        .and_where(Expr::col(Column::RecordedAt).lt(before))
        .order_by(Column::RecordedAt, sea_orm::Order::Asc)
        .limit(limit)
        .to_owned();
    let delete =
        Entity::delete_many().into_query().and_where(Expr::col(Column::MessageId).in_subquery(expired)).to_owned();
    tx.execute(&delete).await.map(drop)
}
