//! The table `stock_receipts`: what came in, counted apart from what became of it, so that the one can be held against the other.

use sea_orm::entity::prelude::*;

/// The units of one product that ever came in.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stock_receipts")]
pub struct Model {
    /// Which product.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product_id: String,
    /// How many.
    pub units: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
