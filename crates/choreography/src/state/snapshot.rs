//! Snapshots: the state of an aggregate at a version, so that only later events are read.
//!
//! A snapshot saves time and decides nothing: one that is missing, of another schema, or unreadable means a replay of the
//! whole history. It is written in the transaction of the events. Each aggregate has one snapshot at most.

use std::collections::HashMap;

use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::statement;

/// The SeaORM entity of the table `snapshots`.
#[doc(hidden)]
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// The state of an aggregate at a version.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "snapshots")]
    pub struct Model {
        /// The aggregate's id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub aggregate_id: String,
        /// The version of the last event in the state.
        pub version: i64,
        /// The schema of the state.
        pub schema: i64,
        /// The state, as JSON.
        #[sea_orm(column_type = "Text")]
        pub state: String,
        /// When the first event of the history was recorded, in milliseconds since 1970.
        pub created_at: i64,
    }

    /// SeaORM requires this type; the table has no relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The snapshots of a kind of aggregate: how often, and of which schema.
#[derive(Debug)]
pub struct Snapshots<S> {
    every: i64,
    schema: u32,
    encode: fn(&S) -> serde_json::Result<String>,
    decode: fn(&str) -> serde_json::Result<S>,
}

/// A state that was loaded from a snapshot.
pub(crate) struct Snapshot<S> {
    pub(crate) state: S,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
}

impl<S: Serialize + DeserializeOwned> Snapshots<S> {
    /// Takes a snapshot of an aggregate when as many events follow its last snapshot, or the beginning of its history.
    ///
    /// `schema` is the version of the state: raise it when its JSON changes, or when the same history makes another state.
    /// Snapshots of other schemas are not read.
    ///
    /// # Panics
    ///
    /// At compile time, if the number of events is zero.
    #[must_use]
    pub const fn every(events: u32, schema: u32) -> Self {
        assert!(events > 0, "a snapshot is taken after at least one event");
        Self {
            every: events as i64,
            schema,
            encode: serde_json::to_string::<S>,
            decode: |state| serde_json::from_str(state),
        }
    }
}

impl<S> Snapshots<S> {
    /// Returns whether an aggregate needs a new snapshot.
    pub(crate) fn is_due(&self, last: i64, version: i64) -> bool {
        version - last >= self.every
    }

    /// Loads the snapshots of many aggregates, with one statement per chunk. Those that cannot be used are left out.
    pub(crate) async fn load(
        &self,
        connection: &impl ConnectionTrait,
        aggregate_ids: &[String],
    ) -> Result<HashMap<String, Snapshot<S>>, DbErr> {
        let mut snapshots = HashMap::new();
        for chunk in statement::padded_chunks(aggregate_ids) {
            let rows = entity::Entity::find()
                .filter(entity::Column::AggregateId.is_in(chunk))
                .filter(entity::Column::Schema.eq(i64::from(self.schema)))
                .all(connection)
                .await?;
            for row in rows {
                match (self.decode)(&row.state) {
                    Ok(state) => {
                        let snapshot = Snapshot { state, version: row.version, created_at: row.created_at };
                        snapshots.insert(row.aggregate_id, snapshot);
                    }
                    Err(error) => tracing::warn!(
                        aggregate.id = row.aggregate_id, %error,
                        "a snapshot cannot be read, so the whole history is; raise the schema of the snapshots"
                    ),
                }
            }
        }
        Ok(snapshots)
    }

    /// Makes the row of a snapshot; `None` if the state cannot be encoded, which is logged.
    pub(crate) fn row(&self, id: &str, snapshot: &Snapshot<&S>) -> Option<entity::ActiveModel> {
        match (self.encode)(snapshot.state) {
            Ok(state) => Some(entity::ActiveModel {
                aggregate_id: Set(id.to_owned()),
                version: Set(snapshot.version),
                schema: Set(i64::from(self.schema)),
                state: Set(state),
                created_at: Set(snapshot.created_at),
            }),
            Err(error) => {
                tracing::warn!(aggregate.id = id, %error, "a state cannot be encoded as JSON, so it has no snapshot");
                None
            }
        }
    }
}

/// Writes snapshots over earlier ones, with one statement per chunk.
pub(crate) async fn save(connection: &impl ConnectionTrait, rows: Vec<entity::ActiveModel>) -> Result<(), DbErr> {
    statement::upsert(connection, rows).await
}
