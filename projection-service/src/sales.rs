//! Sales: confirmed and cancelled units and money, per product and day (UTC).

use std::collections::BTreeMap;

use choreography::statement::{self, invalid_row};
use choreography::{Envelope, HandleError, Projection, Tracked};
use contracts::declaration::{EVENT_STORES, OrderChange, SALES};
use contracts::order::OrderItem;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
};

/// The table `sales_v1`.
pub mod product_sales {
    use sea_orm::entity::prelude::*;

    /// The sales of a product on a day in a currency.
    #[derive(Clone, Debug, Default, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "sales_v1")]
    pub struct Model {
        /// The day, such as `2026-11-27`.
        #[sea_orm(primary_key, auto_increment = false)]
        pub day: String,
        /// The product.
        #[sea_orm(primary_key, auto_increment = false)]
        pub product_id: String,
        /// The ISO 4217 code.
        #[sea_orm(primary_key, auto_increment = false)]
        pub currency: String,
        /// Units of orders that were confirmed on the day.
        pub confirmed_units: i64,
        /// Their money, in minor units.
        pub confirmed_amount: i64,
        /// Units of orders that were cancelled on the day.
        pub cancelled_units: i64,
        /// Their money, in minor units.
        pub cancelled_amount: i64,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The table `sales_orders_v1`: the lines of orders that are not final.
pub mod open_orders {
    use sea_orm::entity::prelude::*;

    /// An order that is not final.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "sales_orders_v1")]
    pub struct Model {
        /// The order's id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub order_id: String,
        /// The ISO 4217 code.
        pub currency: String,
        /// The lines, JSON.
        #[sea_orm(column_type = "Text")]
        pub items: String,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The projection.
#[derive(Debug, Clone, Copy)]
pub struct Sales;

/// The key of a row: day, product, currency.
type Key = (String, String, String);

impl Projection for Sales {
    const NAME: &'static str = SALES.0;
    const VERSION: u32 = SALES.1;
    const TABLES: &'static [&'static str] = &["sales_v1", "sales_orders_v1"];
    const SCHEMA: &'static [&'static str] = &[
        "CREATE TABLE sales_v1 (day text NOT NULL, product_id text NOT NULL, currency text NOT NULL, \
         confirmed_units bigint NOT NULL, confirmed_amount bigint NOT NULL, cancelled_units bigint NOT NULL, \
         cancelled_amount bigint NOT NULL, PRIMARY KEY (day, product_id, currency))",
        "CREATE TABLE sales_orders_v1 (order_id text PRIMARY KEY, currency text NOT NULL, items text NOT NULL)",
    ];
    const EVENT_STORES: &'static [&'static str] = EVENT_STORES;
    type Messages = OrderChange;

    async fn apply(&self, tx: &DatabaseTransaction, batch: &[&Envelope<OrderChange>]) -> Result<(), HandleError> {
        let ids = statement::distinct(batch.iter().map(|event| event.key.clone()));
        let stored = statement::select_in::<open_orders::Entity, _>(tx, open_orders::Column::OrderId, &ids).await?;
        let mut open: BTreeMap<String, open_orders::Model> =
            stored.iter().map(|row| (row.order_id.clone(), row.clone())).collect();
        let mut sold = BTreeMap::new();
        for event in batch {
            match &event.payload {
                OrderChange::Placed(order) => {
                    let items =
                        serde_json::to_string(&order.items).map_err(|error| HandleError::Retry(error.into()))?;
                    let currency = order.currency.code().to_owned();
                    open.insert(
                        event.key.clone(),
                        open_orders::Model { order_id: event.key.clone(), currency, items },
                    );
                }
                OrderChange::AwaitingStock(_) | OrderChange::Reserved(_) => {}
                OrderChange::Confirmed(_) => add(&mut sold, &mut open, event, true)?,
                OrderChange::Cancelled(_) => add(&mut sold, &mut open, event, false)?,
            }
        }
        save_sold(tx, sold).await?;
        save_open(tx, &stored, open).await
    }
}

/// Adds the lines of an order that has become final to the sales of the day.
fn add(
    sold: &mut BTreeMap<Key, product_sales::Model>,
    open: &mut BTreeMap<String, open_orders::Model>,
    event: &Envelope<OrderChange>,
    is_confirmed: bool,
) -> Result<(), HandleError> {
    let unplaced =
        || HandleError::Reject(format!("{} of order {}, which is not open", event.message_type, event.key));
    let order = open.remove(&event.key).ok_or_else(unplaced)?;
    let items: Vec<OrderItem> =
        serde_json::from_str(&order.items).map_err(|error| HandleError::Retry(error.into()))?;
    for item in items {
        let key = (event.time.date().to_string(), item.product_id.to_string(), order.currency.clone());
        let row = sold.entry(key).or_default();
        let units = i64::from(item.quantity.get());
        let amount = item.unit_price.minor_units().saturating_mul(units);
        let (sum_units, sum_amount) = match is_confirmed {
            true => (&mut row.confirmed_units, &mut row.confirmed_amount),
            false => (&mut row.cancelled_units, &mut row.cancelled_amount),
        };
        *sum_units = sum_units.saturating_add(units);
        *sum_amount = sum_amount.saturating_add(amount);
    }
    Ok(())
}

/// Adds the sales of a batch to the rows.
async fn save_sold(tx: &DatabaseTransaction, sold: BTreeMap<Key, product_sales::Model>) -> Result<(), DbErr> {
    let mut days: Vec<String> = sold.keys().map(|(day, ..)| day.clone()).collect();
    days.dedup();
    // A batch of a backfill may have many days; the products of a day are few.
    let rows = statement::select_in::<product_sales::Entity, _>(tx, product_sales::Column::Day, &days).await?;
    let key = |row: &product_sales::Model| (row.day.clone(), row.product_id.clone(), row.currency.clone());
    let mut sales: Tracked<Key, product_sales::Model> = rows.into_iter().map(|row| (key(&row), row)).collect();
    for (key, more) in sold {
        let row = sales.get_or_insert_with(key.clone(), product_sales::Model::default);
        (row.day, row.product_id, row.currency) = key;
        row.confirmed_units = row.confirmed_units.saturating_add(more.confirmed_units);
        row.confirmed_amount = row.confirmed_amount.saturating_add(more.confirmed_amount);
        row.cancelled_units = row.cancelled_units.saturating_add(more.cancelled_units);
        row.cancelled_amount = row.cancelled_amount.saturating_add(more.cancelled_amount);
    }
    sales.save(tx, |_, row| Ok::<_, DbErr>(row.clone().into_active_model())).await
}

/// Inserts the orders that were placed, and deletes those that have become final.
async fn save_open(
    tx: &DatabaseTransaction,
    stored: &[open_orders::Model],
    mut open: BTreeMap<String, open_orders::Model>,
) -> Result<(), HandleError> {
    let is_final = |row: &&open_orders::Model| !open.contains_key(&row.order_id);
    let gone: Vec<String> = stored.iter().filter(is_final).map(|row| row.order_id.clone()).collect();
    for chunk in statement::padded_chunks(&gone) {
        open_orders::Entity::delete_many().filter(open_orders::Column::OrderId.is_in(chunk)).exec(tx).await?;
    }
    for row in stored {
        open.remove(&row.order_id);
    }
    let rows = open.into_values().map(|row| open_orders::ActiveModel {
        order_id: Set(row.order_id),
        currency: Set(row.currency),
        items: Set(row.items),
    });
    Ok(statement::insert(tx, rows.collect(), None).await?)
}

/// Returns a day as the table stores it, if it is one: `2026-11-27`.
///
/// # Errors
///
/// If the text is not a day.
pub fn parse_day(text: &str) -> Result<String, DbErr> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    time::Date::parse(text, format).map(|day| day.to_string()).map_err(invalid_row)
}
