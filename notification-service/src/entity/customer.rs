//! The table `customers`: a projection of account events, with the fields that notifications need.

use sea_orm::entity::prelude::*;

/// The name and mail address of one account.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "customers")]
pub struct Model {
    /// The customer's id, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub customer_id: String,
    /// The version of the account in account-service.
    pub version: i64,
    /// Whether the account was deleted. The row stays, so that an older change that arrives late finds a newer version.
    pub deleted: bool,
    /// The customer's name; null if the account was deleted.
    pub name: Option<String>,
    /// The mail address; null if the account was deleted.
    pub email: Option<String>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
