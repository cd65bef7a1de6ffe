//! The follow-up volume of messages: the space that admission reserves in the stream of events for a pending message.

use crate::topology::{ACCOUNT_SERVICE, IDENTITY_SERVICE, INVENTORY_SERVICE, ORDER_SERVICE, PAYMENT_SERVICE};

/// The maximum number of units of one restock that a gateway accepts.
///
/// Backordered orders are in no stream, so admission does not count them. A restock releases at most one of them per
/// unit, in one transaction. The follow-up events must fit into the fifth of EVENTS that admission leaves free; a test
/// computes this from the largest orders.
pub const MAX_RESTOCK: u32 = 12_000;

/// Returns the maximum number of bytes of events per byte of a pending message, until its flow has ended.
///
/// The longest flow of an order has nine events: placed, backordered, awaiting stock, stock reserved, reserved,
/// captured, cancelled, released, refunded. None is larger than the command except for headers. The tests of this
/// crate compute the factors from the largest and the smallest messages that the contracts allow.
#[must_use]
pub fn follow_up(service: &str) -> u64 {
    match service {
        ORDER_SERVICE | INVENTORY_SERVICE | PAYMENT_SERVICE => 13,
        ACCOUNT_SERVICE => 2,
        // Each change carries all rights of the user.
        IDENTITY_SERVICE => 20,
        // notification-service publishes nothing.
        _ => 0,
    }
}
