//! What customers are told, and in which words. Pure: no clock, no I/O.
//!
//! - [`NotifiableEvent`]: the events that concern a customer's order;
//! - [`Customer`]: what is kept of an account to greet and to reach them;
//! - [`Notice`]: subject and text of one notification.

mod customer;
mod money;
mod text;

use contracts::order::{OrderAwaitingStock, OrderCancelled, OrderConfirmed, OrderEvent};
use contracts::payment::{PaymentEvent, PaymentRefunded};
use contracts::{CustomerId, OrderId};

pub use customer::{AccountMessage, Customer, Reachable};
pub use money::in_words;
pub use text::Notice;

/// An event that its customer is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifiableEvent {
    /// A stock is short; the order waits for it.
    AwaitingStock(OrderAwaitingStock),
    /// The order is final and good.
    Confirmed(OrderConfirmed),
    /// The order is final and void.
    Cancelled(OrderCancelled),
    /// What was paid is given back.
    Refunded(PaymentRefunded),
}

impl NotifiableEvent {
    /// Returns who is told.
    #[must_use]
    pub fn customer_id(&self) -> &CustomerId {
        match self {
            Self::AwaitingStock(event) => &event.customer_id,
            Self::Confirmed(event) => &event.customer_id,
            Self::Cancelled(event) => &event.customer_id,
            Self::Refunded(event) => &event.customer_id,
        }
    }

    /// Returns the order it is about.
    #[must_use]
    pub fn order_id(&self) -> &OrderId {
        match self {
            Self::AwaitingStock(event) => &event.order_id,
            Self::Confirmed(event) => &event.order_id,
            Self::Cancelled(event) => &event.order_id,
            Self::Refunded(event) => &event.order_id,
        }
    }

    /// Takes an event of an order, where its customer is told of it.
    #[must_use]
    pub fn of_order(event: OrderEvent) -> Option<Self> {
        match event {
            OrderEvent::AwaitingStock(event) => Some(Self::AwaitingStock(event)),
            OrderEvent::Confirmed(event) => Some(Self::Confirmed(event)),
            OrderEvent::Cancelled(event) => Some(Self::Cancelled(event)),
            OrderEvent::Placed(_)
            | OrderEvent::Reserved(_)
            | OrderEvent::PlaceRefused(_)
            | OrderEvent::CancelRefused(_)
            | OrderEvent::CancelDeferred(_) => None,
        }
    }

    /// Takes an event of a payment, where its customer is told of it.
    #[must_use]
    pub fn of_payment(event: PaymentEvent) -> Option<Self> {
        match event {
            PaymentEvent::Refunded(event) => Some(Self::Refunded(event)),
            // The order is confirmed or cancelled because of these, and says so.
            PaymentEvent::Captured(_) | PaymentEvent::Declined(_) => None,
        }
    }
}
