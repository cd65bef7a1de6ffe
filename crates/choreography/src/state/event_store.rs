//! The event store: the history of each aggregate, appended with optimistic locking.
//!
//! The key of the table is `(aggregate_id, version)`. If two writers append the same version, the later transaction
//! fails and is retried on the new history.

use std::collections::HashMap;

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, Statement,
};

use crate::state::statement;
use crate::wire::envelope::Outgoing;

/// The SeaORM entity of the table `events`.
#[doc(hidden)]
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// An event in the history of an aggregate.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "events")]
    pub struct Model {
        /// The aggregate's id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub aggregate_id: String,
        /// Its position in the history: 1, 2, 3, …
        #[sea_orm(primary_key, auto_increment = false)]
        pub version: i64,
        /// The id under which it was published.
        pub message_id: Uuid,
        /// The type, `<context>.<name>.v<version>`.
        pub message_type: String,
        /// The payload, as JSON.
        #[sea_orm(column_type = "Text")]
        pub body: String,
        /// The id of the message that caused it.
        pub causation_id: Uuid,
        /// The id of the message that began the flow.
        pub correlation_id: Uuid,
        /// When it was recorded, in milliseconds since 1970.
        pub recorded_at: i64,
    }

    /// SeaORM requires this type; the table has no relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub use entity::Model as RecordedEvent;

/// Loads the histories of many aggregates, each in the order of its versions. Aggregates without events are left out.
///
/// # Errors
///
/// The database's error.
pub async fn load(
    connection: &impl ConnectionTrait,
    aggregate_ids: &[String],
) -> Result<HashMap<String, Vec<RecordedEvent>>, DbErr> {
    let mut histories: HashMap<String, Vec<RecordedEvent>> = HashMap::new();
    for chunk in statement::padded_chunks(aggregate_ids) {
        let events = entity::Entity::find()
            .filter(entity::Column::AggregateId.is_in(chunk))
            .order_by_asc(entity::Column::AggregateId)
            .order_by_asc(entity::Column::Version)
            .all(connection)
            .await?;
        for event in events {
            histories.entry(event.aggregate_id.clone()).or_default().push(event);
        }
    }
    Ok(histories)
}

/// Loads the events after a version of each aggregate, in the order of their versions.
pub(crate) async fn load_after(
    connection: &impl ConnectionTrait,
    aggregates: &[(String, i64)],
) -> Result<HashMap<String, Vec<RecordedEvent>>, DbErr> {
    let mut histories: HashMap<String, Vec<RecordedEvent>> = HashMap::new();
    let ids: Vec<&(String, i64)> = aggregates.iter().collect();
    for chunk in statement::chunks(ids) {
        // A row per aggregate, so that the database searches its primary key once for each.
        let places: Vec<String> = (1..=chunk.len()).map(|n| format!("(${}, ${})", 2 * n - 1, 2 * n)).collect();
        let sql = format!(
            "SELECT events.* FROM (VALUES {}) AS after \
             JOIN events ON events.aggregate_id = after.column1 AND events.version > after.column2 \
             ORDER BY events.aggregate_id, events.version",
            places.join(", ")
        );
        let values = chunk.into_iter().flat_map(|(id, version)| [id.clone().into(), (*version).into()]);
        let select = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        for event in entity::Entity::find().from_raw_sql(select).all(connection).await? {
            histories.entry(event.aggregate_id.clone()).or_default().push(event);
        }
    }
    Ok(histories)
}

/// Appends events to the histories of their aggregates, with one multi-row statement per chunk.
///
/// # Errors
///
/// The database's error; a unique violation if another writer was faster. An event without an aggregate version, or
/// with a body that is not UTF-8, is a [`DbErr::Custom`].
pub async fn append(connection: &impl ConnectionTrait, events: &[Outgoing], now: i64) -> Result<(), DbErr> {
    let rows = events.iter().map(|event| row(event, now)).collect::<Result<Vec<_>, _>>()?;
    statement::insert(connection, rows, None).await
}

fn row(event: &Outgoing, now: i64) -> Result<entity::ActiveModel, DbErr> {
    let version = event
        .aggregate_version
        .ok_or_else(|| DbErr::Custom(format!("{} has no aggregate version", event.message_type)))?;
    let body = String::from_utf8(event.body.clone()).map_err(|error| DbErr::Custom(error.to_string()))?;
    Ok(entity::ActiveModel {
        aggregate_id: Set(event.key.clone()),
        version: Set(version),
        message_id: Set(event.id),
        message_type: Set(event.message_type.to_owned()),
        body: Set(body),
        causation_id: Set(event.cause.id),
        correlation_id: Set(event.cause.correlation_id),
        recorded_at: Set(now),
    })
}
