//! The table `customers`: what this service keeps of the accounts.

use sea_orm::entity::prelude::*;

/// One account's name and address.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "customers")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub customer_id: String,
    /// The version of the account that this was taken from.
    pub version: i64,
    /// Whether the account is no more. The row stays, so that an older change that comes late finds a newer version.
    pub deleted: bool,
    /// The customer's name; null where the account is no more.
    pub name: Option<String>,
    /// Where mail goes; null where the account is no more.
    pub email: Option<String>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
