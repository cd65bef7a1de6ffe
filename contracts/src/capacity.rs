//! How much a message can lead to: what admission reserves in the stream of events for a message that waits.

use crate::topology::{ACCOUNT_SERVICE, INVENTORY_SERVICE, ORDER_SERVICE, PAYMENT_SERVICE};

/// How many bytes of events follow at most from one byte of a message that waits for a service, until its flow is over.
///
/// The longest flow of an order has nine events: placed, backordered, awaiting stock, stock reserved, reserved,
/// captured, cancelled, released, refunded. None is larger than the command but for headers. The tests of this crate
/// compute the factors from the largest and the smallest messages that the contracts allow.
#[must_use]
pub fn follow_up(service: &str) -> u64 {
    match service {
        ORDER_SERVICE | INVENTORY_SERVICE | PAYMENT_SERVICE => 13,
        ACCOUNT_SERVICE => 2,
        // notification-service publishes nothing.
        _ => 0,
    }
}
