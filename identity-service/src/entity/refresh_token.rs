//! The table `refresh_tokens`: the refresh tokens of sessions, hashed.

use sea_orm::entity::prelude::*;

/// A refresh token.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refresh_tokens")]
pub struct Model {
    /// The SHA-256 hash of the token, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: String,
    /// The session.
    pub session_id: String,
    /// When it was exchanged, in milliseconds since 1970.
    pub used_at: Option<i64>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
