//! The JSON of orders in responses. All but [`OrderAccepted`] only describe, for OpenAPI, the order service's replies,
//! which the gateway relays; `contracts::query` has the types that serialise them.

use choreography::Durability;
use choreography_http::form::Shape;
use choreography_http::json::Nullable;
use contracts::OrderId;
use poem_openapi::{Enum, Object};
use serde_json::Value;

use super::place::Item;

/// An order whose command is stored.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OrderAccepted {
    /// The id of the order.
    order_id: String,
    /// Always `accepted`.
    status: Accepted,
    /// The failures that the stored command survives: `unsynced` (of the process), `fsynced` (of the power supply),
    /// either followed by `, replicated ×3` (of a server).
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

/// The status of an order. `confirmed` and `cancelled` are final.
#[derive(Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum OrderStatus {
    /// Placed; no reservation has been made or refused yet.
    Placed,
    /// The stock of a product is short; the order waits.
    AwaitingStock,
    /// The stock of every line is reserved.
    Reserved,
    /// Confirmed (terminal).
    Confirmed,
    /// Cancelled (terminal).
    Cancelled,
}

/// An order.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Order {
    /// The id of the order.
    order_id: String,
    /// The id of the ordering customer.
    customer_id: String,
    /// The current status.
    status: OrderStatus,
    /// The currency of every price, ISO 4217.
    currency: String,
    /// The lines.
    items: Vec<Shape<Item>>,
    /// The sum of the lines, in minor units.
    total_price: i64,
    /// Why the order was cancelled; null if it was not.
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
    /// `customer` or `unknown-product`; more codes can follow.
    code: String,
    /// With `customer`: the reason in the customer's words.
    text: Option<String>,
    /// With `unknown-product`: the products that do not exist.
    product_ids: Option<Vec<String>>,
}

/// What an order that is not final waits for.
#[derive(Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum WaitsFor {
    /// The reservation by the inventory.
    Reservation,
    /// A restock of a product.
    Stock,
    /// The capture of the payment.
    Payment,
}

/// An order in a list.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct FoundOrder {
    #[oai(flatten)]
    order: Order,
    /// What it waits for; null if it is final.
    waits_for: Nullable<WaitsFor>,
}

/// A page of orders.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OrderPage {
    /// The orders.
    items: Vec<FoundOrder>,
    /// The `cursor` of the next page; null on the last page.
    next: Nullable<String>,
    /// Up to when the list contains all orders, RFC 3339; null while the read model is built.
    as_of: Nullable<String>,
}

/// The history of an order.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OrderHistory {
    /// The id of the order.
    order_id: String,
    /// Its events, by version.
    events: Vec<HistoryEvent>,
}

/// An event of an order's history.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct HistoryEvent {
    /// Its position in the history: 1, 2, 3, …
    version: i64,
    /// `<context>.<name>.v<version>`, such as `order.placed.v1`.
    r#type: String,
    /// When it was recorded, RFC 3339.
    time: String,
    /// The id of the published message.
    message_id: String,
    /// The id of the message that caused it.
    causation_id: String,
    /// The id of the message that began the flow.
    correlation_id: String,
    /// The body of the event.
    data: Value,
}
