//! The order: what it is, and how it decides. Pure: no clock, no I/O.
//!
//! ```text
//!           ┌─► awaiting-stock ─┐
//! placed ───┴───────────────────┴─► reserved ─► confirmed
//!    └────────────┴───────────────────┴──────► cancelled
//! ```
//!
//! Reserved when the inventory holds every line, confirmed when the payment is captured besides. Cancelled by the
//! customer at any moment before that, by a payment that is declined, by a product that does not exist, or by a
//! deadline while it waits for stock.
//!
//! Messages come in any order and any number of times, so every decision holds for every state.

mod decide;
mod evolve;

use contracts::OrderId;
use contracts::inventory::{InventoryEvent, StockBackordered, StockRefused, StockReserved};
use contracts::order::{
    CancelOrder, CancelReason, OrderCommand, OrderDetails, OrderTimer, PlaceOrder, StockDeadlinePassed,
};
use contracts::payment::{PaymentCaptured, PaymentDeclined, PaymentEvent};
use contracts::query::OrderStatus;
use messaging::Decode;

pub use decide::decide;
pub use evolve::evolve;

/// An order, as its history made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Order {
    /// Nothing is known of it.
    #[default]
    Unknown,
    /// A cancel came before it: it will be cancelled when it is placed.
    CancelDeferred {
        /// Why, in the customer's words.
        reason: Option<String>,
    },
    /// It exists and is not final.
    Open {
        /// What is ordered.
        details: OrderDetails,
        /// How far it has come.
        stage: Stage,
    },
    /// Final and good.
    Confirmed {
        /// What was ordered.
        details: OrderDetails,
    },
    /// Final and void.
    Cancelled {
        /// What was ordered.
        details: OrderDetails,
        /// Why it was cancelled.
        reason: CancelReason,
    },
}

/// How far an open order has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has answered it yet.
    Placed,
    /// A stock is short; it waits.
    AwaitingStock,
    /// The stock of every line is reserved.
    Reserved,
}

impl Order {
    /// Returns what is ordered, once that is known.
    #[must_use]
    pub fn details(&self) -> Option<&OrderDetails> {
        match self {
            Self::Unknown | Self::CancelDeferred { .. } => None,
            Self::Open { details, .. } | Self::Confirmed { details } | Self::Cancelled { details, .. } => {
                Some(details)
            }
        }
    }

    /// Returns where it stands, once it exists.
    #[must_use]
    pub fn status(&self) -> Option<OrderStatus> {
        match self {
            Self::Unknown | Self::CancelDeferred { .. } => None,
            Self::Open { stage: Stage::Placed, .. } => Some(OrderStatus::Placed),
            Self::Open { stage: Stage::AwaitingStock, .. } => Some(OrderStatus::AwaitingStock),
            Self::Open { stage: Stage::Reserved, .. } => Some(OrderStatus::Reserved),
            Self::Confirmed { .. } => Some(OrderStatus::Confirmed),
            Self::Cancelled { .. } => Some(OrderStatus::Cancelled),
        }
    }
}

/// Everything an order reacts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderMessage {
    /// Place an order.
    Place(PlaceOrder),
    /// Cancel an order.
    Cancel(CancelOrder),
    /// The inventory holds every line.
    StockReserved(StockReserved),
    /// The inventory is short of a line; the order waits there.
    StockBackordered(StockBackordered),
    /// The inventory does not know a product.
    StockRefused(StockRefused),
    /// The money is taken.
    PaymentCaptured(PaymentCaptured),
    /// The money is not taken, and will not be.
    PaymentDeclined(PaymentDeclined),
    /// The order has waited for stock for as long as it may.
    StockDeadline(StockDeadlinePassed),
}

impl OrderMessage {
    /// Returns the order it is about.
    #[must_use]
    pub fn order_id(&self) -> &OrderId {
        match self {
            Self::Place(command) => &command.order_id,
            Self::Cancel(command) => &command.order_id,
            Self::StockReserved(event) => &event.order_id,
            Self::StockBackordered(event) => &event.order_id,
            Self::StockRefused(event) => &event.order_id,
            Self::PaymentCaptured(event) => &event.order_id,
            Self::PaymentDeclined(event) => &event.order_id,
            Self::StockDeadline(timer) => &timer.order_id,
        }
    }
}

impl Decode for OrderMessage {
    fn decode(message_type: &str, body: &[u8]) -> anyhow::Result<Self> {
        let foreign = || anyhow::anyhow!("an order does not react to {message_type}");
        if OrderCommand::TYPES.contains(&message_type) {
            return Ok(match OrderCommand::decode(message_type, body)? {
                OrderCommand::Place(command) => Self::Place(command),
                OrderCommand::Cancel(command) => Self::Cancel(command),
            });
        }
        if OrderTimer::TYPES.contains(&message_type) {
            let OrderTimer::StockDeadline(timer) = OrderTimer::decode(message_type, body)?;
            return Ok(Self::StockDeadline(timer));
        }
        if PaymentEvent::TYPES.contains(&message_type) {
            return match PaymentEvent::decode(message_type, body)? {
                PaymentEvent::Captured(event) => Ok(Self::PaymentCaptured(event)),
                PaymentEvent::Declined(event) => Ok(Self::PaymentDeclined(event)),
                PaymentEvent::Refunded(_) => Err(foreign()),
            };
        }
        match InventoryEvent::decode(message_type, body)? {
            InventoryEvent::Reserved(event) => Ok(Self::StockReserved(event)),
            InventoryEvent::Backordered(event) => Ok(Self::StockBackordered(event)),
            InventoryEvent::Refused(event) => Ok(Self::StockRefused(event)),
            InventoryEvent::Released(_) | InventoryEvent::Restocked(_) => Err(foreign()),
        }
    }
}
