//! Customers: orders, open orders, spending, and the last contact.

use std::collections::BTreeMap;

use choreography::envelope::unix_millis;
use choreography::{Envelope, HandleError, Projection, Tracked, statement};
use contracts::declaration::{CUSTOMERS, EVENT_STORES, OrderChange};
use sea_orm::{DatabaseTransaction, DbErr, IntoActiveModel};

/// The table `customers_v1`.
pub mod customer_orders {
    use sea_orm::entity::prelude::*;

    /// The orders of a customer.
    #[derive(Clone, Debug, Default, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "customers_v1")]
    pub struct Model {
        /// The customer.
        #[sea_orm(primary_key, auto_increment = false)]
        pub customer_id: String,
        /// Placed orders.
        pub orders: i64,
        /// Orders that are not final.
        pub open: i64,
        /// Confirmed orders.
        pub confirmed: i64,
        /// Cancelled orders.
        pub cancelled: i64,
        /// When an order of the customer last changed, in milliseconds since 1970.
        pub last_contact: i64,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The table `customers_spent_v1`.
pub mod spent {
    use sea_orm::entity::prelude::*;

    /// What a customer has spent on confirmed orders, in a currency.
    #[derive(Clone, Debug, Default, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "customers_spent_v1")]
    pub struct Model {
        /// The customer.
        #[sea_orm(primary_key, auto_increment = false)]
        pub customer_id: String,
        /// The ISO 4217 code.
        #[sea_orm(primary_key, auto_increment = false)]
        pub currency: String,
        /// The sum of confirmed orders, in minor units.
        pub amount: i64,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The projection.
#[derive(Debug, Clone, Copy)]
pub struct Customers;

impl Projection for Customers {
    const NAME: &'static str = CUSTOMERS.0;
    const VERSION: u32 = CUSTOMERS.1;
    const TABLES: &'static [&'static str] = &["customers_v1", "customers_spent_v1"];
    const SCHEMA: &'static [&'static str] = &[
        "CREATE TABLE customers_v1 (customer_id text PRIMARY KEY, orders bigint NOT NULL, open bigint NOT NULL, \
         confirmed bigint NOT NULL, cancelled bigint NOT NULL, last_contact bigint NOT NULL)",
        "CREATE TABLE customers_spent_v1 (customer_id text NOT NULL, currency text NOT NULL, amount bigint NOT NULL, \
         PRIMARY KEY (customer_id, currency))",
    ];
    const EVENT_STORES: &'static [&'static str] = EVENT_STORES;
    type Messages = OrderChange;

    async fn apply(&self, tx: &DatabaseTransaction, batch: &[&Envelope<OrderChange>]) -> Result<(), HandleError> {
        let ids = statement::distinct(batch.iter().filter_map(|event| customer(&event.payload)));
        let rows =
            statement::select_in::<customer_orders::Entity, _>(tx, customer_orders::Column::CustomerId, &ids)
                .await?;
        let mut found: Tracked<String, customer_orders::Model> =
            rows.into_iter().map(|row| (row.customer_id.clone(), row)).collect();
        let mut confirmed: BTreeMap<(String, String), i64> = BTreeMap::new();
        for event in batch {
            let Some(id) = customer(&event.payload) else { continue };
            let row = found.get_or_insert_with(id.clone(), customer_orders::Model::default);
            row.customer_id.clone_from(&id);
            row.last_contact = row.last_contact.max(unix_millis(event.time));
            match &event.payload {
                OrderChange::Placed(_) => (row.orders, row.open) = (row.orders + 1, row.open + 1),
                OrderChange::Confirmed(order) => {
                    (row.confirmed, row.open) = (row.confirmed + 1, row.open - 1);
                    let sum = confirmed.entry((id, order.currency.code().to_owned())).or_default();
                    *sum = sum.saturating_add(order.total_price.minor_units());
                }
                OrderChange::Cancelled(_) => (row.cancelled, row.open) = (row.cancelled + 1, row.open - 1),
                OrderChange::AwaitingStock(_) | OrderChange::Reserved(_) => {}
            }
        }
        found.save(tx, |_, row| Ok::<_, DbErr>(row.clone().into_active_model())).await?;
        Ok(add_spent(tx, confirmed).await?)
    }
}

/// Returns the customer of an event, if it names one.
fn customer(change: &OrderChange) -> Option<String> {
    let id = match change {
        OrderChange::Placed(order) => &order.customer_id,
        OrderChange::AwaitingStock(order) => &order.customer_id,
        OrderChange::Confirmed(order) => &order.customer_id,
        OrderChange::Cancelled(order) => &order.customer_id,
        OrderChange::Reserved(_) => return None,
    };
    Some(id.to_string())
}

/// Adds the money of a batch to the rows.
async fn add_spent(tx: &DatabaseTransaction, confirmed: BTreeMap<(String, String), i64>) -> Result<(), DbErr> {
    let ids = statement::distinct(confirmed.keys().map(|(customer, _)| customer.clone()));
    let rows = statement::select_in::<spent::Entity, _>(tx, spent::Column::CustomerId, &ids).await?;
    let mut spent: Tracked<(String, String), spent::Model> =
        rows.into_iter().map(|row| ((row.customer_id.clone(), row.currency.clone()), row)).collect();
    for (key, amount) in confirmed {
        let row = spent.get_or_insert_with(key.clone(), spent::Model::default);
        (row.customer_id, row.currency) = key;
        row.amount = row.amount.saturating_add(amount);
    }
    spent.save(tx, |_, row| Ok::<_, DbErr>(row.clone().into_active_model())).await
}
