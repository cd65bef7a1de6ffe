//! The table `credentials`: the passwords of users, hashed. E-mail addresses are here only, and in no event.

use sea_orm::entity::prelude::*;

/// The credentials of a user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "credentials")]
pub struct Model {
    /// The id of the user, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// The e-mail address in lower case; unique.
    pub email: String,
    /// The hash of the password: Argon2id, in the PHC format.
    #[sea_orm(column_type = "Text")]
    pub password_hash: String,
    /// When the password was set, in milliseconds since 1970.
    pub changed_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
