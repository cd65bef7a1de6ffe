//! The table `api_keys`: the API keys of service accounts, hashed.

use sea_orm::entity::prelude::*;

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    /// The SHA-256 hash of the key, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_hash: String,
    /// The id of the key.
    pub api_key_id: String,
    /// The service account.
    pub user_id: String,
    /// When it was issued, in milliseconds since 1970.
    pub created_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
