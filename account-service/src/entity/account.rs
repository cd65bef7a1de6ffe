//! The table `accounts`: the current state of each account.

use sea_orm::entity::prelude::*;

/// An account, or the tombstone of a deleted one.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub struct Model {
    /// The customer's id, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub customer_id: String,
    /// The number of changes.
    pub version: i64,
    /// Whether the account was deleted.
    pub deleted: bool,
    /// The details, a JSON object; null if the account was deleted, because deleted personal data is not kept.
    #[sea_orm(column_type = "Text", nullable)]
    pub details: Option<String>,
    /// The time of the last change, in milliseconds since 1970.
    pub updated_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
