//! The table `account_copies`: a projection of account events, with the fields that payments need.

use sea_orm::entity::prelude::*;

/// A copy of an account.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account_copies")]
pub struct Model {
    /// The customer's id, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub customer_id: String,
    /// The version of the account in account-service; only a newer version overwrites a row.
    pub version: i64,
    /// Whether the account was deleted; then all following columns are null.
    pub deleted: bool,
    /// The provider's token for the card; null, like the next three columns, if there is no card.
    pub token: Option<String>,
    /// The brand of the card.
    pub brand: Option<String>,
    /// The last four digits of the card number.
    pub last_four: Option<String>,
    /// The last month in which the card is valid, `YYYY-MM`.
    pub expiry: Option<String>,
    /// The credit limit: the largest sum of payments that are not refunded, in minor units.
    pub limit_amount: Option<i64>,
    /// The currency of the limit, ISO 4217.
    pub limit_currency: Option<String>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
