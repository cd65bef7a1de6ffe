//! The table `backorder_lines`: the lines of waiting orders, per product in the order of service.

use sea_orm::entity::prelude::*;

/// One line of a waiting order.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "backorder_lines")]
pub struct Model {
    /// The product's id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product_id: String,
    /// The order's position in the queue.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    /// The id of the waiting order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: String,
    /// The number of units.
    pub quantity: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
