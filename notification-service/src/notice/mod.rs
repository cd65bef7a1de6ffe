//! The texts of notifications. Pure: no clock, no I/O.
//!
//! - [`NotifiableEvent`]: the events that concern a customer's order;
//! - [`Customer`]: the copy of an account, with name and mail address;
//! - [`Notice`]: subject and text of one notification.

mod customer;
mod money;
mod text;

use choreography::Messages;
use contracts::order::{OrderAwaitingStock, OrderCancelled, OrderConfirmed};
use contracts::payment::PaymentRefunded;
use contracts::{CustomerId, OrderId};

pub use customer::{AccountMessage, Contact, Customer};
pub use money::format_amount;
pub use text::Notice;

/// An event that the customer is notified of.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum NotifiableEvent {
    /// A product is out of stock; the order waits.
    AwaitingStock(OrderAwaitingStock),
    /// The order is confirmed.
    Confirmed(OrderConfirmed),
    /// The order is cancelled.
    Cancelled(OrderCancelled),
    /// The payment is refunded.
    Refunded(PaymentRefunded),
}

impl NotifiableEvent {
    /// Returns the id of the customer to notify.
    #[must_use]
    pub fn customer_id(&self) -> &CustomerId {
        match self {
            Self::AwaitingStock(event) => &event.customer_id,
            Self::Confirmed(event) => &event.customer_id,
            Self::Cancelled(event) => &event.customer_id,
            Self::Refunded(event) => &event.customer_id,
        }
    }

    /// Returns the order's id.
    #[must_use]
    pub fn order_id(&self) -> &OrderId {
        match self {
            Self::AwaitingStock(event) => &event.order_id,
            Self::Confirmed(event) => &event.order_id,
            Self::Cancelled(event) => &event.order_id,
            Self::Refunded(event) => &event.order_id,
        }
    }
}
