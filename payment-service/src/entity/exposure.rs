//! The table `exposures`: the amounts that count against the limits of accounts. Its rows are the locks of the
//! customers.

use sea_orm::entity::prelude::*;

/// The sum of a customer's payments in one currency that are capturing, voiding, captured, or refunding.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "exposures")]
pub struct Model {
    /// The customer's id, part of the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub customer_id: String,
    /// The ISO 4217 code, part of the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub currency: String,
    /// The sum in minor units.
    pub amount: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
