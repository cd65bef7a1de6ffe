//! The order context: its commands and its events.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::message::messages;
use crate::payment::DeclineReason;
use crate::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};

mod reason;

pub use reason::{InvalidReason, MAX_REASON, Reason};

/// The most lines an order may have.
pub const MAX_ITEMS: usize = 100;

messages! {
    /// What others ask of the order context.
    pub enum OrderCommand in "order" as "command" {
        /// Place an order.
        Place(PlaceOrder) = "place" v 1, key order_id;
        /// Cancel an order that is not final.
        Cancel(CancelOrder) = "cancel" v 1, key order_id;
    }
}

messages! {
    /// What has happened to an order, in the order context's own words.
    pub enum OrderEvent in "order" as "event" {
        /// The order exists.
        Placed(OrderPlaced) = "placed" v 1, key order_id;
        /// A stock is short; the order waits for it.
        AwaitingStock(OrderAwaitingStock) = "awaiting-stock" v 1, key order_id;
        /// The stock of every line is reserved.
        Reserved(OrderReserved) = "reserved" v 1, key order_id;
        /// The order is final and good.
        Confirmed(OrderConfirmed) = "confirmed" v 1, key order_id;
        /// The order is final and void.
        Cancelled(OrderCancelled) = "cancelled" v 1, key order_id;
        /// A [`PlaceOrder`] was refused; nothing changed.
        PlaceRefused(PlaceOrderRefused) = "place-refused" v 1, key order_id;
        /// A [`CancelOrder`] was refused; nothing changed.
        CancelRefused(CancelOrderRefused) = "cancel-refused" v 1, key order_id;
        /// A [`CancelOrder`] came before its order; the order will be cancelled when it comes.
        CancelDeferred(CancelOrderDeferred) = "cancel-deferred" v 1, key order_id;
    }
}

messages! {
    /// What the order context tells itself, later.
    pub enum OrderTimer in "order" as "timer" {
        /// An order has waited for stock for as long as it may.
        StockDeadline(StockDeadlinePassed) = "stock-deadline" v 1, key order_id;
    }
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderItem {
    /// Which product.
    pub product_id: ProductId,
    /// How many units.
    pub quantity: Quantity,
    /// The price of one piece, in minor units of the order's currency.
    pub unit_price: Amount,
}

/// Why lines and a total do not make an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrder {
    /// There are no lines, or more than [`MAX_ITEMS`].
    #[error("must have 1 to {MAX_ITEMS} items, and has {0}")]
    ItemCount(usize),
    /// The sum of the lines is too large to be exact in JSON.
    #[error("must not agree to more than {}", crate::money::MAX_AMOUNT)]
    TotalTooLarge,
    /// The stated total is not the sum of the lines.
    #[error("must be the sum of quantity × unitPrice over the items, which is {computed}, and not {stated}")]
    TotalMismatch {
        /// The total that came with the order, in minor units.
        stated: i64,
        /// The sum of the lines, in minor units.
        computed: i64,
    },
}

/// What is ordered: at least one line, and a total that is consistent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", try_from = "UncheckedDetails")]
pub struct OrderDetails {
    /// Which order.
    pub order_id: OrderId,
    /// Who ordered.
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
    /// Checks the lines and sums them up.
    ///
    /// # Errors
    ///
    /// [`InvalidOrder`] where the number of lines is not 1 to [`MAX_ITEMS`], the sum is too large, or `stated_total`
    /// is there and is not the sum.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct PlaceOrder(pub OrderDetails);

/// The order exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(transparent)]
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

/// Cancel an order that is not final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CancelOrder {
    /// Which order.
    pub order_id: OrderId,
    /// Why, in the customer's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// A stock is short; the order waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderAwaitingStock {
    /// Which order.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// The products whose stock is short.
    pub short: Vec<ProductId>,
}

/// The stock of every line is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderReserved {
    /// Which order.
    pub order_id: OrderId,
}

/// The order is final and good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderConfirmed {
    /// Which order.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// The currency of the total.
    #[cfg_attr(feature = "schemas", schemars(with = "crate::schema::CurrencyCode"))]
    pub currency: Currency,
    /// What the order comes to, in minor units.
    pub total_price: Amount,
}

/// Why an order was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "code")]
pub enum CancelReason {
    /// The customer asked for it.
    Customer {
        /// Why, in the customer's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// The order names products that do not exist.
    UnknownProduct {
        /// Those products.
        product_ids: Vec<ProductId>,
    },
    /// The order waited for stock for too long.
    StockDeadline,
    /// The payment was declined.
    PaymentDeclined {
        /// Why.
        reason: DeclineReason,
    },
}

/// An order has waited for stock for as long as it may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockDeadlinePassed {
    /// Which order.
    pub order_id: OrderId,
}

impl StockDeadlinePassed {
    /// Returns the subject on which the deadline stands until it is due.
    #[must_use]
    pub fn schedule_subject(&self) -> String {
        format!("order.schedule.stock-deadline.{}", self.order_id)
    }
}

/// The order is final and void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    /// Which order.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// Why.
    pub reason: CancelReason,
}

/// Why a [`PlaceOrder`] was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PlaceRefusal {
    /// The id belongs to an order with other content.
    IdAlreadyUsed,
}

/// A [`PlaceOrder`] was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PlaceOrderRefused {
    /// The id that was asked for.
    pub order_id: OrderId,
    /// Why.
    pub reason: PlaceRefusal,
}

/// Why a [`CancelOrder`] was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CancelRefusal {
    /// The order is confirmed, which is final.
    AlreadyConfirmed,
}

/// A [`CancelOrder`] was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CancelOrderRefused {
    /// Which order.
    pub order_id: OrderId,
    /// Why.
    pub reason: CancelRefusal,
}

/// A [`CancelOrder`] came before its order; the order will be cancelled when it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CancelOrderDeferred {
    /// Which order.
    pub order_id: OrderId,
    /// Why, in the customer's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
