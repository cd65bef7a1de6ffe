//! The table `sessions`: the sessions of users, and of API keys that were exchanged.

use sea_orm::entity::prelude::*;

/// A session: the family of its refresh tokens.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    /// The id of the session, the primary key; of an API key, that of the key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: String,
    /// The id of the user.
    pub user_id: String,
    /// When the user signed in, in milliseconds since 1970.
    pub created_at: i64,
    /// When the user must sign in again, in milliseconds since 1970.
    pub expires_at: i64,
    /// When the session ended before that, in milliseconds since 1970.
    pub ended_at: Option<i64>,
    /// Why it ended.
    pub end_reason: Option<String>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
