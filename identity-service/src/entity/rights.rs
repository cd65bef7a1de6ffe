//! The table `user_rights`: the current rights of each user.

use sea_orm::entity::prelude::*;

/// The rights of a user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "user_rights")]
pub struct Model {
    /// The id of the user, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// The number of changes of the rights.
    pub version: i64,
    /// The rights, as published: JSON.
    #[sea_orm(column_type = "Text")]
    pub rights: String,
    /// The ids of the valid API keys: a JSON array.
    #[sea_orm(column_type = "Text")]
    pub api_key_ids: String,
    /// The time of the last change, in milliseconds since 1970.
    pub updated_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
