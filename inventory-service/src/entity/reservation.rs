//! The table `reservations`.

use sea_orm::entity::prelude::*;

/// What was decided for one order.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reservations")]
pub struct Model {
    /// Which order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: String,
    /// Where it stands.
    pub status: Status,
    /// What it asks for, a line a product: a JSON array of `{"productId", "quantity"}`.
    #[sea_orm(column_type = "Text")]
    pub lines: String,
    /// The correlation id the order came with.
    pub correlation_id: Uuid,
    /// How many decisions were made for it.
    pub version: i64,
    /// Its place in line; null unless it waits.
    pub position: Option<i64>,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum Status {
    /// Every line is held for it.
    Reserved,
    /// It waits its turn.
    Waiting,
    /// It names products that did not exist.
    Refused,
    /// It was cancelled, and what was held for it came back.
    Released,
    /// It was cancelled before anything was held for it, or before it came.
    Cancelled,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
