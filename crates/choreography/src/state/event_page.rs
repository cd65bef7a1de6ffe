//! Paged reads of the event store, in the order of its key `(aggregate_id, version)`.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};

use crate::state::event_store::entity::{Column, Entity, Model};

/// The key of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventKey {
    /// The id of the aggregate.
    pub aggregate_id: String,
    /// The version of the aggregate after the event.
    pub version: i64,
}

/// Returns at most `limit` events after a key, or from the first one; of one aggregate, or of all.
///
/// # Errors
///
/// The database's error.
pub(crate) async fn after(
    connection: &impl ConnectionTrait,
    key: Option<&EventKey>,
    aggregate_id: Option<&str>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut select = Entity::find();
    if let Some(id) = aggregate_id {
        select = select.filter(Column::AggregateId.eq(id));
    }
    if let Some(EventKey { aggregate_id, version }) = key {
        let key = Expr::tuple([Expr::col(Column::AggregateId), Expr::col(Column::Version)]);
        select = select.filter(key.gt(Expr::tuple([Expr::val(aggregate_id.as_str()), Expr::val(*version)])));
    }
    select.order_by_asc(Column::AggregateId).order_by_asc(Column::Version).limit(limit).all(connection).await
}

/// Returns the number of recorded events.
///
/// # Errors
///
/// The database's error.
pub(crate) async fn count(connection: &impl ConnectionTrait) -> Result<u64, DbErr> {
    Entity::find().count(connection).await
}
