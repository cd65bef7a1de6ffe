//! The order context: its commands and its events.

use std::ops::Deref;

use choreography::{Command, Event, Messages, Timer};
use serde::{Deserialize, Serialize};

use crate::payment::DeclineReason;
use crate::topology::{API_GATEWAY, ORDER_SERVICE};
use crate::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};

mod reason;

pub use reason::{InvalidReason, MAX_REASON, Reason};

/// The maximum number of lines per order.
pub const MAX_ITEMS: usize = 100;

/// The commands of the order context.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum OrderCommand {
    /// Place an order.
    Place(PlaceOrder),
    /// Cancel an order that is not terminal.
    Cancel(CancelOrder),
}

/// The events of the order context.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum OrderEvent {
    /// The order was placed.
    Placed(OrderPlaced),
    /// Stock is short; the order waits for a restock.
    AwaitingStock(OrderAwaitingStock),
    /// The stock of every line is reserved.
    Reserved(OrderReserved),
    /// The order is confirmed. This state is terminal.
    Confirmed(OrderConfirmed),
    /// The order is cancelled. This state is terminal.
    Cancelled(OrderCancelled),
    /// A [`PlaceOrder`] was refused; nothing changed.
    PlaceRefused(PlaceOrderRefused),
    /// A [`CancelOrder`] was refused; nothing changed.
    CancelRefused(CancelOrderRefused),
    /// A [`CancelOrder`] arrived before its order; the order will be cancelled when it arrives.
    CancelDeferred(CancelOrderDeferred),
}

/// The timers of the order context.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum OrderTimer {
    /// The stock deadline of an order has passed.
    StockDeadline(StockDeadlinePassed),
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderItem {
    /// The id of the product.
    pub product_id: ProductId,
    /// The number of units.
    pub quantity: Quantity,
    /// The price per unit, in minor units of the order's currency.
    pub unit_price: Amount,
}

/// Why lines and a total are not a valid order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrder {
    /// There are no lines, or more than [`MAX_ITEMS`].
    #[error("must have 1 to {MAX_ITEMS} items, but has {0}")]
    ItemCount(usize),
    /// The sum of the lines exceeds the integers that are exact in JSON.
    #[error("must not total more than {}", crate::money::MAX_AMOUNT)]
    TotalTooLarge,
    /// The stated total is not the sum of the lines.
    #[error("must be the sum of quantity × unitPrice over the items, which is {computed}, not {stated}")]
    TotalMismatch {
        /// The stated total, in minor units.
        stated: i64,
        /// The sum of the lines, in minor units.
        computed: i64,
    },
}

/// The content of an order: at least one line, and a consistent total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", try_from = "UncheckedDetails")]
pub struct OrderDetails {
    /// The id of the order.
    pub order_id: OrderId,
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The currency of every price in the order, ISO 4217.
    #[cfg_attr(feature = "schemas", schemars(with = "crate::schema::CurrencyCode"))]
    pub currency: Currency,
    /// The lines.
    #[cfg_attr(feature = "schemas", schemars(length(min = 1, max = MAX_ITEMS)))]
    pub items: Vec<OrderItem>,
    /// The sum of the lines, in minor units.
    pub total_price: Amount,
}

impl OrderDetails {
    /// Checks the lines and computes their sum.
    ///
    /// # Errors
    ///
    /// [`InvalidOrder`] if the number of lines is not 1 to [`MAX_ITEMS`], the sum is too large, or a `stated_total`
    /// is not the sum.
    pub fn new(
        order_id: OrderId,
        customer_id: CustomerId,
        currency: Currency,
        items: Vec<OrderItem>,
        stated_total: Option<i64>,
    ) -> Result<Self, InvalidOrder> {
        if !(1..=MAX_ITEMS).contains(&items.len()) {
            return Err(InvalidOrder::ItemCount(items.len()));
        }
        let total_price = items
            .iter()
            .try_fold(Amount::ZERO, |sum, item| sum.checked_add(item.unit_price.checked_times(item.quantity)?))
            .ok_or(InvalidOrder::TotalTooLarge)?;
        match stated_total {
            Some(stated) if stated != total_price.minor_units() => {
                Err(InvalidOrder::TotalMismatch { stated, computed: total_price.minor_units() })
            }
            _ => Ok(Self { order_id, customer_id, currency, items, total_price }),
        }
    }
}

/// The wire form of [`OrderDetails`], before its sum is checked.
#[derive(Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct UncheckedDetails {
    order_id: OrderId,
    customer_id: CustomerId,
    #[cfg_attr(feature = "schemas", schemars(with = "crate::schema::CurrencyCode"))]
    currency: Currency,
    #[cfg_attr(feature = "schemas", schemars(length(min = 1, max = MAX_ITEMS)))]
    items: Vec<OrderItem>,
    #[cfg_attr(feature = "schemas", schemars(with = "Amount"))]
    total_price: i64,
}

impl TryFrom<UncheckedDetails> for OrderDetails {
    type Error = InvalidOrder;
    fn try_from(unchecked: UncheckedDetails) -> Result<Self, InvalidOrder> {
        let UncheckedDetails { order_id, customer_id, currency, items, total_price } = unchecked;
        Self::new(order_id, customer_id, currency, items, Some(total_price))
    }
}

/// Place an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(transparent)]
#[message(context = "order", name = "place", version = 1, key = 0.order_id, producer = API_GATEWAY)]
pub struct PlaceOrder(pub OrderDetails);

/// The order was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(transparent)]
#[message(context = "order", name = "placed", version = 1, key = 0.order_id, producer = ORDER_SERVICE)]
pub struct OrderPlaced(pub OrderDetails);

impl Deref for PlaceOrder {
    type Target = OrderDetails;
    fn deref(&self) -> &OrderDetails {
        &self.0
    }
}

impl Deref for OrderPlaced {
    type Target = OrderDetails;
    fn deref(&self) -> &OrderDetails {
        &self.0
    }
}

/// Cancel an order that is not terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "order", name = "cancel", version = 1, key = order_id, producer = API_GATEWAY)]
pub struct CancelOrder {
    /// The id of the order.
    pub order_id: OrderId,
    /// The customer's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Stock is short; the order waits for a restock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "order", name = "awaiting-stock", version = 1, key = order_id, producer = ORDER_SERVICE)]
pub struct OrderAwaitingStock {
    /// The id of the order.
    pub order_id: OrderId,
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The products whose stock is short.
    pub short: Vec<ProductId>,
}

/// The stock of every line is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "order", name = "reserved", version = 1, key = order_id, producer = ORDER_SERVICE)]
pub struct OrderReserved {
    /// The id of the order.
    pub order_id: OrderId,
}

/// The order is confirmed. This state is terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "order", name = "confirmed", version = 1, key = order_id, producer = ORDER_SERVICE)]
pub struct OrderConfirmed {
    /// The id of the order.
    pub order_id: OrderId,
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The currency of the total.
    #[cfg_attr(feature = "schemas", schemars(with = "crate::schema::CurrencyCode"))]
    pub currency: Currency,
    /// The total of the order, in minor units.
    pub total_price: Amount,
}

/// The reason why an order was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "code")]
pub enum CancelReason {
    /// The customer cancelled it.
    Customer {
        /// The customer's reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// The order contains unknown products.
    UnknownProduct {
        /// The unknown products.
        product_ids: Vec<ProductId>,
    },
    /// The order waited for stock until its deadline.
    StockDeadline,
    /// The payment was declined.
    PaymentDeclined {
        /// The reason.
        reason: DeclineReason,
    },
}

/// The stock deadline of an order has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Timer)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "order", name = "stock-deadline", version = 1, key = order_id, producer = ORDER_SERVICE)]
pub struct StockDeadlinePassed {
    /// The id of the order.
    pub order_id: OrderId,
}

impl StockDeadlinePassed {
    /// Returns the subject of the deadline until it is due.
    #[must_use]
    pub fn schedule_subject(&self) -> String {
        format!("order.schedule.stock-deadline.{}", self.order_id)
    }
}

/// The order is cancelled. This state is terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "order", name = "cancelled", version = 1, key = order_id, producer = ORDER_SERVICE)]
pub struct OrderCancelled {
    /// The id of the order.
    pub order_id: OrderId,
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The reason.
    pub reason: CancelReason,
}

/// The reason why a [`PlaceOrder`] was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PlaceRefusal {
    /// Another order has the id.
    IdAlreadyUsed,
}

/// A [`PlaceOrder`] was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "order", name = "place-refused", version = 1, key = order_id, producer = ORDER_SERVICE)]
pub struct PlaceOrderRefused {
    /// The requested id.
    pub order_id: OrderId,
    /// The reason.
    pub reason: PlaceRefusal,
}

/// The reason why a [`CancelOrder`] was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CancelRefusal {
    /// The order is confirmed, which is terminal.
    AlreadyConfirmed,
}

/// A [`CancelOrder`] was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "order", name = "cancel-refused", version = 1, key = order_id, producer = ORDER_SERVICE)]
pub struct CancelOrderRefused {
    /// The id of the order.
    pub order_id: OrderId,
    /// The reason.
    pub reason: CancelRefusal,
}

/// A [`CancelOrder`] arrived before its order; the order will be cancelled when it arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "order", name = "cancel-deferred", version = 1, key = order_id, producer = ORDER_SERVICE)]
pub struct CancelOrderDeferred {
    /// The id of the order.
    pub order_id: OrderId,
    /// The customer's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
