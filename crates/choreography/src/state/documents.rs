//! Documents: state-stored aggregates whose state is one JSON document with a version.
//!
//! A service that owns them keeps them here, and publishes each change with the whole document and its version. A service
//! that needs them keeps a copy in the same way: event-carried state transfer. Each database has documents of one kind.
//!
//! ```
//! use choreography::documents::Documents;
//! use choreography::{Envelope, Event, HandleError, Outgoing};
//! use sea_orm::DatabaseTransaction;
//! use serde::{Deserialize, Serialize};
//!
//! /// A room was changed.
//! #[derive(Clone, PartialEq, Serialize, Deserialize, Event)]
//! #[message(context = "room", name = "changed", version = 1, key = room_id, producer = "room-service")]
//! struct RoomChanged {
//!     room_id: String,
//!     beds: u32,
//! }
//!
//! /// Keeps a copy of the rooms.
//! async fn copy(tx: &DatabaseTransaction, batch: &[&Envelope<RoomChanged>]) -> Result<Vec<Outgoing>, HandleError> {
//!     let mut rooms = Documents::load(tx, batch.iter().map(|event| event.key.clone())).await?;
//!     for event in batch {
//!         rooms.copy(&event.key, event.aggregate_version.unwrap_or_default(), &event.payload);
//!     }
//!     rooms.save(tx).await?;
//!     Ok(vec![])
//! }
//! ```

use std::collections::BTreeMap;

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryOrder, QuerySelect,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::statement::{self, invalid_row};
use crate::state::tracked::Tracked;

/// The SeaORM entity of the table `documents`.
#[doc(hidden)]
pub mod entity {
    use sea_orm::entity::prelude::*;

    /// A document.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "documents")]
    pub struct Model {
        /// Its id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub document_id: String,
        /// Its version, from 1.
        pub version: i64,
        /// The document, as JSON.
        #[sea_orm(column_type = "Text")]
        pub body: String,
    }

    /// SeaORM requires this type; the table has no relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The documents that a batch changes.
#[derive(Debug, Clone)]
pub struct Documents<T>(Tracked<String, Document<T>>);

/// A document; one that does not exist has version 0 and no body.
#[derive(Debug, Clone, PartialEq)]
struct Document<T> {
    version: i64,
    body: Option<T>,
}

impl<T: Clone + PartialEq + Serialize + DeserializeOwned> Documents<T> {
    /// Loads documents and locks their rows, in the order of the ids, until the transaction ends.
    ///
    /// # Errors
    ///
    /// The database's error, or a row that cannot be read.
    pub async fn load(tx: &DatabaseTransaction, ids: impl IntoIterator<Item = String>) -> Result<Self, DbErr> {
        let ids = statement::distinct(ids);
        let rows = statement::select_for_update::<entity::Entity, _>(tx, entity::Column::DocumentId, &ids).await?;
        let document = |row: entity::Model| {
            let document = Document { version: row.version, body: Some(read(&row)?) };
            Ok((row.document_id, document))
        };
        rows.into_iter().map(document).collect::<Result<_, _>>().map(Self)
    }

    /// Creates a document, or replaces its content. Returns its new version; `None` if it has this content already.
    pub fn put(&mut self, id: &str, body: &T) -> Option<i64> {
        let document = self.document(id);
        if document.body.as_ref() == Some(body) {
            return None;
        }
        *document = Document { version: document.version + 1, body: Some(body.clone()) };
        Some(document.version)
    }

    /// Copies a version of a document from another service. A newer copy stays: events arrive in any order.
    pub fn copy(&mut self, id: &str, version: i64, body: &T) {
        let document = self.document(id);
        if document.version < version {
            *document = Document { version, body: Some(body.clone()) };
        }
    }

    fn document(&mut self, id: &str) -> &mut Document<T> {
        self.0.get_or_insert_with(id.to_owned(), || Document { version: 0, body: None })
    }

    /// Writes the changed documents, with one statement per chunk.
    ///
    /// # Errors
    ///
    /// As [`Tracked::save`].
    pub async fn save(&self, tx: &DatabaseTransaction) -> Result<(), DbErr> {
        let row = |id: &String, document: &Document<T>| {
            let body = serde_json::to_string(&document.body).map_err(invalid_row)?;
            Ok(entity::ActiveModel {
                document_id: Set(id.clone()),
                version: Set(document.version),
                body: Set(body),
            })
        };
        self.0.save(tx, row).await
    }
}

/// Finds documents by id, with one statement per chunk.
///
/// # Errors
///
/// The database's error, or a row that cannot be read.
pub async fn find<T: DeserializeOwned>(
    connection: &impl ConnectionTrait,
    ids: impl IntoIterator<Item = String>,
) -> Result<BTreeMap<String, T>, DbErr> {
    let ids = statement::distinct(ids);
    let rows = statement::select_in::<entity::Entity, _>(connection, entity::Column::DocumentId, &ids).await?;
    rows.into_iter().map(|row| Ok((row.document_id.clone(), read(&row)?))).collect()
}

/// Lists the first documents, by id.
///
/// # Errors
///
/// The database's error, or a row that cannot be read.
pub async fn list<T: DeserializeOwned>(connection: &impl ConnectionTrait, limit: u64) -> Result<Vec<T>, DbErr> {
    let rows = entity::Entity::find().order_by_asc(entity::Column::DocumentId).limit(limit).all(connection).await?;
    rows.iter().map(read).collect()
}

fn read<T: DeserializeOwned>(row: &entity::Model) -> Result<T, DbErr> {
    serde_json::from_str(&row.body).map_err(invalid_row)
}
