//! The table `known_addresses`: from where a user has signed in before.

use sea_orm::entity::prelude::*;

/// An address from which a user has signed in.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "known_addresses")]
pub struct Model {
    /// The id of the user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// The SHA-256 hash of the user's id and the address.
    #[sea_orm(primary_key, auto_increment = false)]
    pub address_hash: String,
    /// When the user last signed in from there, in milliseconds since 1970.
    pub seen_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
