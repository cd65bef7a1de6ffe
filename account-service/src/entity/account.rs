//! The table `accounts`.

use sea_orm::entity::prelude::*;

/// The account of a customer, or what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub customer_id: String,
    /// How many changes there have been.
    pub version: i64,
    /// Whether the account is no more.
    pub deleted: bool,
    /// What it says, a JSON object; null where it is no more: what a customer wants deleted is not kept.
    #[sea_orm(column_type = "Text", nullable)]
    pub details: Option<String>,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
