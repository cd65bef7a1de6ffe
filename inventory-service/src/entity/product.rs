//! The table `products`.

use sea_orm::entity::prelude::*;

/// The units of one product.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "products")]
pub struct Model {
    /// Which product.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product_id: String,
    /// How many are on the shelf, those promised to waiting orders included.
    pub available: i64,
    /// How many are held for orders.
    pub reserved: i64,
    /// How many waiting orders ask for: the sum of the product's waiting lines.
    pub backordered: i64,
    /// The position of the order that came to wait for it last; 0 where none ever did.
    pub last_position: i64,
    /// How often units came in.
    pub version: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
