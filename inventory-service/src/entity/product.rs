//! The table `products`: the unit counts of each product.

use sea_orm::entity::prelude::*;

/// The units of one product.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "products")]
pub struct Model {
    /// The product's id, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product_id: String,
    /// The available units, including those promised to waiting orders.
    pub available: i64,
    /// The units reserved for orders.
    pub reserved: i64,
    /// The units of waiting orders: the sum of the product's backorder lines.
    pub backordered: i64,
    /// The position of the latest backordered order; 0 if there never was one.
    pub last_position: i64,
    /// The number of restocks.
    pub version: i64,
    /// When it last changed, in milliseconds since 1970.
    pub changed_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
