//! What orders look like in answers. All but [`OrderAccepted`] only describe, for OpenAPI, what the order service
//! says and the gateway relays; `contracts::query` is what it is written with.

use contracts::OrderId;
use messaging::Durability;
use poem_openapi::{Enum, Object};
use serde_json::Value;

use super::place::ItemSchema;
use crate::json::Nullable;

/// An order whose command is stored.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OrderAccepted {
    /// Which order.
    order_id: String,
    /// Always `accepted`.
    status: Accepted,
    /// What the command survives from now on: `unsynced` (the process), `fsynced` (a power cut), and `, replicated ×3` (the
    /// server) behind either.
    durability: String,
}

#[derive(Debug, Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum Accepted {
    Accepted,
}

impl OrderAccepted {
    pub(crate) fn new(order_id: &OrderId, durability: Durability) -> Self {
        Self { order_id: order_id.to_string(), status: Accepted::Accepted, durability: durability.to_string() }
    }
}

/// Where an order stands. `confirmed` and `cancelled` are final.
#[derive(Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum OrderStatus {
    /// It exists; nothing has answered it yet.
    Placed,
    /// A stock is short; it waits.
    AwaitingStock,
    /// The stock of every line is reserved.
    Reserved,
    /// Final and good.
    Confirmed,
    /// Final and void.
    Cancelled,
}

/// An order as it stands.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Order {
    /// Which order.
    order_id: String,
    /// Who ordered.
    customer_id: String,
    /// Where it stands.
    status: OrderStatus,
    /// The currency of every price, ISO 4217.
    currency: String,
    /// The lines.
    items: Vec<ItemSchema>,
    /// The sum of the lines, in minor units.
    total_price: i64,
    /// Why it was cancelled, where it was.
    reason: Nullable<CancelReason>,
    /// The number of events in its history.
    version: i64,
    /// When it was placed, RFC 3339.
    placed_at: String,
    /// When it last changed, RFC 3339.
    updated_at: String,
}

/// Why an order was cancelled.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct CancelReason {
    /// `customer`, `unknown-product`; more may come.
    code: String,
    /// With `customer`: why, in the customer's words.
    text: Option<String>,
    /// With `unknown-product`: the products that do not exist.
    product_ids: Option<Vec<String>>,
}

/// A page of orders.
#[derive(Object)]
pub(crate) struct OrderPage {
    /// The orders, newest first.
    items: Vec<Order>,
    /// The `cursor` of the page that follows; null where this is the last.
    next: Nullable<String>,
}

/// What happened to an order.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OrderHistory {
    /// Which order.
    order_id: String,
    /// Its events, by version.
    events: Vec<HistoryEvent>,
}

/// One event of an order's history.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct HistoryEvent {
    /// Its place in the history: 1, 2, 3, …
    version: i64,
    /// `<context>.<name>.v<version>`, such as `order.placed.v1`.
    r#type: String,
    /// When it was recorded, RFC 3339.
    time: String,
    /// The id under which it was published.
    message_id: String,
    /// The id of the message it answers.
    causation_id: String,
    /// The id of the message that began the flow.
    correlation_id: String,
    /// What it says.
    data: Value,
}
