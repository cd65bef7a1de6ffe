//! The table `backorder_lines`: who waits for what, per product in the order they are served.

use sea_orm::entity::prelude::*;

/// One line of a waiting order.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "backorder_lines")]
pub struct Model {
    /// What is waited for.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product_id: String,
    /// The order's place in line.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    /// Who waits.
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: String,
    /// How many units.
    pub quantity: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
