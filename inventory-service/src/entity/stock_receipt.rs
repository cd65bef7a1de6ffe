//! The table `stock_receipts`: the received units, counted separately from the stock, for the reconciliation of both.

use sea_orm::entity::prelude::*;

/// All received units of one product.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stock_receipts")]
pub struct Model {
    /// The product's id, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product_id: String,
    /// The sum of all received units.
    pub units: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
