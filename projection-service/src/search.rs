//! Order search: one row per order, and one per order and product.

use choreography::envelope::unix_millis;
use choreography::{Envelope, HandleError, Projection, Tracked, statement};
use contracts::declaration::{EVENT_STORES, ORDER_SEARCH, OrderChange};
use contracts::query::{OrderStatus, WaitsFor};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, DbErr, IntoActiveModel};

/// The table `order_search_v1`.
pub mod orders {
    use sea_orm::entity::prelude::*;

    /// The current state of an order.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "order_search_v1")]
    pub struct Model {
        /// The order's id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub order_id: String,
        /// The customer who placed the order.
        pub customer_id: String,
        /// The name of a [`contracts::query::OrderStatus`].
        pub status: String,
        /// The name of a [`contracts::query::WaitsFor`]; null if the order is final.
        pub waits_for: Option<String>,
        /// The ISO 4217 code.
        pub currency: String,
        /// The sum of the lines, in minor units.
        pub total_price: i64,
        /// The lines, JSON.
        #[sea_orm(column_type = "Text")]
        pub items: String,
        /// The reason of the cancellation, JSON.
        #[sea_orm(column_type = "Text", nullable)]
        pub reason: Option<String>,
        /// The version of the latest event.
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
}

/// The table `order_search_products_v1`.
pub mod products {
    use sea_orm::entity::prelude::*;

    /// A product of an order.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "order_search_products_v1")]
    pub struct Model {
        /// The product.
        #[sea_orm(primary_key, auto_increment = false)]
        pub product_id: String,
        /// The order that has it.
        #[sea_orm(primary_key, auto_increment = false)]
        pub order_id: String,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The projection.
#[derive(Debug, Clone, Copy)]
pub struct OrderSearch;

impl Projection for OrderSearch {
    const NAME: &'static str = ORDER_SEARCH.0;
    const VERSION: u32 = ORDER_SEARCH.1;
    const TABLES: &'static [&'static str] = &["order_search_v1", "order_search_products_v1"];
    const SCHEMA: &'static [&'static str] = &[
        "CREATE TABLE order_search_v1 (order_id text PRIMARY KEY, customer_id text NOT NULL, status text NOT NULL, \
         waits_for text, currency text NOT NULL, total_price bigint NOT NULL, items text NOT NULL, reason text, \
         version bigint NOT NULL, placed_at bigint NOT NULL, updated_at bigint NOT NULL)",
        "CREATE TABLE order_search_products_v1 (product_id text NOT NULL, order_id text NOT NULL, \
         PRIMARY KEY (product_id, order_id))",
        "CREATE INDEX order_search_v1_placed ON order_search_v1 (placed_at, order_id)",
        "CREATE INDEX order_search_v1_updated ON order_search_v1 (updated_at, order_id)",
        "CREATE INDEX order_search_v1_total ON order_search_v1 (total_price, order_id)",
        "CREATE INDEX order_search_v1_customer ON order_search_v1 (customer_id, placed_at, order_id)",
        "CREATE INDEX order_search_v1_status ON order_search_v1 (status, placed_at, order_id)",
        "CREATE INDEX order_search_v1_waits_for ON order_search_v1 (waits_for, placed_at, order_id)",
    ];
    const EVENT_STORES: &'static [&'static str] = EVENT_STORES;
    type Messages = OrderChange;

    async fn apply(&self, tx: &DatabaseTransaction, batch: &[&Envelope<OrderChange>]) -> Result<(), HandleError> {
        let ids = statement::distinct(batch.iter().map(|event| event.key.clone()));
        let rows = statement::select_in::<orders::Entity, _>(tx, orders::Column::OrderId, &ids).await?;
        let mut found: Tracked<String, orders::Model> =
            rows.into_iter().map(|row| (row.order_id.clone(), row)).collect();
        let mut lines = Vec::new();
        for event in batch {
            evolve(&mut found, event)?;
            if let OrderChange::Placed(order) = &event.payload {
                lines.extend(order.items.iter().map(|item| (item.product_id.to_string(), event.key.clone())));
            }
        }
        found.save(tx, |_, row| Ok::<_, DbErr>(row.clone().into_active_model())).await?;
        // A product may be in several lines.
        let lines = statement::distinct(lines);
        let row = |(product, order)| products::ActiveModel { product_id: Set(product), order_id: Set(order) };
        Ok(statement::insert(tx, lines.into_iter().map(row).collect(), None).await?)
    }
}

/// Returns what an order with a status waits for.
fn waits_for(status: OrderStatus) -> Option<WaitsFor> {
    match status {
        OrderStatus::Placed => Some(WaitsFor::Reservation),
        OrderStatus::AwaitingStock => Some(WaitsFor::Stock),
        OrderStatus::Reserved => Some(WaitsFor::Payment),
        OrderStatus::Confirmed | OrderStatus::Cancelled => None,
    }
}

/// Applies an event to the row of its order.
fn evolve(found: &mut Tracked<String, orders::Model>, event: &Envelope<OrderChange>) -> Result<(), HandleError> {
    let json = |error: serde_json::Error| HandleError::Retry(error.into());
    let at = unix_millis(event.time);
    let (status, reason) = match &event.payload {
        OrderChange::Placed(order) => {
            let row = orders::Model {
                order_id: event.key.clone(),
                customer_id: order.customer_id.to_string(),
                status: String::new(),
                waits_for: None,
                currency: order.currency.code().to_owned(),
                total_price: order.total_price.minor_units(),
                items: serde_json::to_string(&order.items).map_err(json)?,
                reason: None,
                version: 0,
                placed_at: at,
                updated_at: at,
            };
            found.insert(event.key.clone(), row);
            (OrderStatus::Placed, None)
        }
        OrderChange::AwaitingStock(_) => (OrderStatus::AwaitingStock, None),
        OrderChange::Reserved(_) => (OrderStatus::Reserved, None),
        OrderChange::Confirmed(_) => (OrderStatus::Confirmed, None),
        OrderChange::Cancelled(order) => {
            (OrderStatus::Cancelled, Some(serde_json::to_string(&order.reason).map_err(json)?))
        }
    };
    let unplaced =
        || HandleError::Reject(format!("{} of order {}, which is not placed", event.message_type, event.key));
    let row = found.get_mut(&event.key).ok_or_else(unplaced)?;
    status.as_str().clone_into(&mut row.status);
    row.waits_for = waits_for(status).map(|waits_for| waits_for.as_str().to_owned());
    row.reason = reason;
    row.version = event.aggregate_version.unwrap_or_default();
    row.updated_at = at;
    Ok(())
}
