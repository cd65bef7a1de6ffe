//! The evolution: the state of an order after an event.

use contracts::order::OrderEvent;

use super::{Order, Stage};

/// Applies an event of the order's own history.
///
/// A refusal changes nothing. Neither does an event that does not fit the state; `decide` returns none of those.
#[must_use]
pub fn evolve(order: Order, event: &OrderEvent) -> Order {
    match (order, event) {
        (_, OrderEvent::Placed(placed)) => Order::Open { details: placed.0.clone(), stage: Stage::Placed },
        (Order::Open { details, .. }, OrderEvent::AwaitingStock(_)) => {
            Order::Open { details, stage: Stage::AwaitingStock }
        }
        (Order::Open { details, .. }, OrderEvent::Reserved(_)) => Order::Open { details, stage: Stage::Reserved },
        (Order::Open { details, .. }, OrderEvent::Confirmed(_)) => Order::Confirmed { details },
        (Order::Open { details, .. }, OrderEvent::Cancelled(cancelled)) => {
            Order::Cancelled { details, reason: cancelled.reason.clone() }
        }
        (Order::Unknown, OrderEvent::CancelDeferred(deferred)) => {
            Order::CancelDeferred { reason: deferred.reason.clone() }
        }
        (order, _) => order,
    }
}
