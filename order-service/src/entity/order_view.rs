//! The table `order_views`: the current state of each order, a projection of its history.

use sea_orm::entity::prelude::*;

/// The current state of an order.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "order_views")]
pub struct Model {
    /// The order's id, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: String,
    /// The customer who placed the order.
    pub customer_id: String,
    /// The name of a [`contracts::query::OrderStatus`].
    pub status: String,
    /// The ISO 4217 code.
    pub currency: String,
    /// The sum of the lines, in minor units.
    pub total_price: i64,
    /// The lines, JSON.
    #[sea_orm(column_type = "Text")]
    pub items: String,
    /// The reason of the cancellation, JSON; null unless the order is cancelled.
    #[sea_orm(column_type = "Text", nullable)]
    pub reason: Option<String>,
    /// The version of the latest event in the history.
    pub version: i64,
    /// When it was placed, in milliseconds since 1970.
    pub placed_at: i64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
