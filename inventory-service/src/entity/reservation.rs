//! The table `reservations`: the stock decision per order.

use sea_orm::entity::prelude::*;

/// The stock decision for one order.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reservations")]
pub struct Model {
    /// The order's id, the primary key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: String,
    /// The status of the reservation.
    pub status: Status,
    /// The lines of the order, one per product: a JSON array of `{"productId", "quantity"}`.
    #[sea_orm(column_type = "Text")]
    pub lines: String,
    /// The correlation id of the order's flow.
    pub correlation_id: Uuid,
    /// The number of decisions for the order.
    pub version: i64,
    /// The order's position in the queue; null unless it waits.
    pub position: Option<i64>,
}

/// The status of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum Status {
    /// Every line is reserved.
    Reserved,
    /// The order waits in the queue.
    Waiting,
    /// The order has products that did not exist.
    Refused,
    /// The order was cancelled, and its units are available again.
    Released,
    /// The order was cancelled before its lines were reserved, or before its event arrived.
    Cancelled,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
