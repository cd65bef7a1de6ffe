//! The table `order_views`: each order as it stands, a projection of its history.

use sea_orm::entity::prelude::*;

/// An order as it stands.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "order_views")]
pub struct Model {
    /// Which order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: String,
    /// Who ordered.
    pub customer_id: String,
    /// One of [`contracts::query::OrderStatus`]'s words.
    pub status: String,
    /// ISO 4217.
    pub currency: String,
    /// The sum of the lines, in minor units.
    pub total_price: i64,
    /// The lines, JSON.
    #[sea_orm(column_type = "Text")]
    pub items: String,
    /// Why it was cancelled, JSON; null where it was not.
    #[sea_orm(column_type = "Text", nullable)]
    pub reason: Option<String>,
    /// The version of the history it shows.
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
