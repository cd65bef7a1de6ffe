//! The table `account_copies`: what others say about accounts, as far as payments need it.

use sea_orm::entity::prelude::*;

/// A copy of an account.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account_copies")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub customer_id: String,
    /// The version of the account where it is kept; a row gives way to a newer one only.
    pub version: i64,
    /// Whether the account is no more; then all that follows is null.
    pub deleted: bool,
    /// What the payment provider knows the card by; null, as the other three, where there is no card.
    pub token: Option<String>,
    /// The brand of the card.
    pub brand: Option<String>,
    /// The end of its number.
    pub last_four: Option<String>,
    /// The last month in which it is good, `YYYY-MM`.
    pub expiry: Option<String>,
    /// How much may be paid for and not refunded, in minor units.
    pub limit_amount: Option<i64>,
    /// Of which currency.
    pub limit_currency: Option<String>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
