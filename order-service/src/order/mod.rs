//! The order aggregate: its states and decisions. Pure: no clock, no I/O.
//!
//! ```text
//!           ┌─► awaiting-stock ─┐
//! placed ───┴───────────────────┴─► reserved ─► confirmed
//!    └────────────┴───────────────────┴──────► cancelled
//! ```
//!
//! An order is reserved when the inventory has reserved every line, and confirmed when the payment is captured, too.
//! Until then the customer, a declined payment, or an unknown product can cancel it, and the stock deadline if it waits
//! for stock.
//!
//! Messages arrive in any order and any number of times, so every message has a decision in every state.

mod decide;
mod evolve;

use contracts::order::{CancelReason, OrderDetails};
use contracts::query::OrderStatus;

pub use contracts::declaration::OrderMessage;
pub use decide::decide;
pub use evolve::evolve;

/// The state of an order, rebuilt from its history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Order {
    /// The order has no history.
    #[default]
    Unknown,
    /// The cancel command overtook the place command: the order is cancelled when it is placed.
    CancelDeferred {
        /// The customer's reason, free text.
        reason: Option<String>,
    },
    /// The order is placed and not final.
    Open {
        /// The customer, the items, and the price.
        details: OrderDetails,
        /// The progress of the order.
        stage: Stage,
    },
    /// Confirmed: a terminal state.
    Confirmed {
        /// The customer, the items, and the price.
        details: OrderDetails,
    },
    /// Cancelled: a terminal state.
    Cancelled {
        /// The customer, the items, and the price.
        details: OrderDetails,
        /// The reason of the cancellation.
        reason: CancelReason,
    },
}

/// The progress of an open order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No service has reacted yet.
    Placed,
    /// A product is out of stock; the order waits.
    AwaitingStock,
    /// The stock of every line is reserved.
    Reserved,
}

impl Order {
    /// Returns the details; `None` until the order is placed.
    #[must_use]
    pub fn details(&self) -> Option<&OrderDetails> {
        match self {
            Self::Unknown | Self::CancelDeferred { .. } => None,
            Self::Open { details, .. } | Self::Confirmed { details } | Self::Cancelled { details, .. } => {
                Some(details)
            }
        }
    }

    /// Returns the status; `None` until the order is placed.
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
