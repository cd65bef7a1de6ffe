//! The table `stock_history`: the units of each product after each change, for queries about the past.

use sea_orm::entity::prelude::*;

/// The units of one product after a transaction that changed them.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stock_history")]
pub struct Model {
    /// The product's id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product_id: String,
    /// When they changed, in milliseconds since 1970; later than the change before.
    #[sea_orm(primary_key, auto_increment = false)]
    pub changed_at: i64,
    /// As in [`product`](super::product).
    pub available: i64,
    /// As in [`product`](super::product).
    pub reserved: i64,
    /// As in [`product`](super::product).
    pub backordered: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
