//! The streams and buckets, as data; the consumers follow from the [declarations](crate::declaration).
//!
//! The constants are the names that the code uses.

use choreography::topology::{Topology, TopologyError};

/// The declaration, as JSON: `streams` and `buckets`.
pub const TOPOLOGY: &str = include_str!("../topology.json");

/// Reads [`TOPOLOGY`].
///
/// # Errors
///
/// If it is not a valid topology.
pub fn streams() -> Result<Topology, TopologyError> {
    Topology::parse(TOPOLOGY)
}

/// The stream of every `<context>.command.>`. The declaration lists each context: the server refuses `*.command.>`,
/// because `*` also matches `$JS`.
pub const COMMANDS: &str = "COMMANDS";
/// The stream of every `<context>.event.>`.
pub const EVENTS: &str = "EVENTS";
/// The stream of every `<context>.schedule.>` and, once due, `<context>.timer.>`.
pub const TIMERS: &str = "TIMERS";
/// The stream of every `dead-letter.>`.
pub const DEAD_LETTERS: &str = "DEAD_LETTERS";
/// The key-value bucket of the gateway's idempotency keys.
pub const IDEMPOTENCY: &str = "IDEMPOTENCY";

/// The service that owns the order context.
pub const ORDER_SERVICE: &str = "order-service";
/// The service that owns the inventory context.
pub const INVENTORY_SERVICE: &str = "inventory-service";
/// The service that owns the account context.
pub const ACCOUNT_SERVICE: &str = "account-service";
/// The service that owns the payment context.
pub const PAYMENT_SERVICE: &str = "payment-service";
/// The service that notifies customers of their orders.
pub const NOTIFICATION_SERVICE: &str = "notification-service";
/// The service with the read models across orders.
pub const PROJECTION_SERVICE: &str = "projection-service";
/// The service that owns the identity context. It runs only with sign-in.
pub const IDENTITY_SERVICE: &str = "identity-service";
/// The gateway, which turns REST calls into commands.
pub const API_GATEWAY: &str = "api-gateway";
