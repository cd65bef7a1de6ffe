//! Which stream holds what and who listens, as data.
//!
//! [`TOPOLOGY`] is the one declaration of the streams, buckets, and durable consumers; the provisioner reads it.
//! The constants are the names that code refers to.

/// The declaration, as JSON: `streams`, `buckets`, and `consumers`, one durable consumer per (service, stream).
pub const TOPOLOGY: &str = include_str!("../topology.json");

/// The stream of every `<context>.command.>`. The declaration names each context: the server refuses `*.command.>`,
/// because `*` could stand for `$JS`.
pub const COMMANDS: &str = "COMMANDS";
/// The stream of every `<context>.event.>`.
pub const EVENTS: &str = "EVENTS";
/// The stream of every `<context>.schedule.>` and, once it is due, `<context>.timer.>`.
pub const TIMERS: &str = "TIMERS";
/// The stream of every `dead-letter.>`.
pub const DEAD_LETTERS: &str = "DEAD_LETTERS";
/// The key-value bucket of the idempotency keys the gateway has seen.
pub const IDEMPOTENCY: &str = "IDEMPOTENCY";

/// The service that owns the order context.
pub const ORDER_SERVICE: &str = "order-service";
/// The service that owns the inventory context.
pub const INVENTORY_SERVICE: &str = "inventory-service";
/// The service that owns the account context.
pub const ACCOUNT_SERVICE: &str = "account-service";
/// The service that owns the payment context.
pub const PAYMENT_SERVICE: &str = "payment-service";
/// The service that tells customers what became of their orders.
pub const NOTIFICATION_SERVICE: &str = "notification-service";
/// The one that turns REST calls into commands.
pub const API_GATEWAY: &str = "api-gateway";

/// Returns who may say something in a context: its own service for events and timers,
/// the gateway for commands.
///
/// `None` where the context or the kind does not exist, so that nobody may.
#[must_use]
pub fn producer(context: &str, kind: &str) -> Option<&'static str> {
    match (context, kind) {
        ("order" | "inventory" | "account", "command") => Some(API_GATEWAY),
        ("order", "event" | "timer") => Some(ORDER_SERVICE),
        ("inventory", "event") => Some(INVENTORY_SERVICE),
        ("account", "event") => Some(ACCOUNT_SERVICE),
        ("payment", "event") => Some(PAYMENT_SERVICE),
        _ => None,
    }
}
