//! The operator's program of the shop: [`choreography_ops`] with the shop's declarations, checks, and texts.
//!
//! [`shop`] is the system, [`invariants`] has its checks, [`cli`] is the program. The gateway uses the first two.

#[cfg(feature = "cli")]
pub mod cli;
pub mod invariants;

use choreography::Declaration;
use choreography_ops::System;
use contracts::declaration::{declarations, full_declarations, topology_for};
use contracts::query::OrderStatus;
use contracts::topology::ORDER_SERVICE;

#[cfg(feature = "cli")]
pub use cli::Cli;

/// The events of which each order has at most one.
const ONCE_PER_ORDER: [&str; 11] = [
    "order.event.placed",
    "order.event.awaiting-stock",
    "order.event.reserved",
    "order.event.confirmed",
    "order.event.cancelled",
    "inventory.event.reserved",
    "inventory.event.backordered",
    "inventory.event.released",
    "payment.event.captured",
    "payment.event.declined",
    "payment.event.refunded",
];
/// The states of an order that are not terminal.
const OPEN: [OrderStatus; 3] = [OrderStatus::Placed, OrderStatus::AwaitingStock, OrderStatus::Reserved];

/// Declares the shop without sign-in.
///
/// # Errors
///
/// If the declared topology cannot be read.
pub fn shop() -> anyhow::Result<System> {
    shop_for(false)
}

/// Declares the shop; with sign-in, identity-service is part of it.
///
/// # Errors
///
/// If the declared topology cannot be read.
pub fn shop_for(auth: bool) -> anyhow::Result<System> {
    let declarations = if auth { full_declarations().to_vec() } else { declarations().to_vec() };
    let system = System::new(topology_for(auth)?)
        .messages(declarations.iter().flat_map(Declaration::published))
        .open_states(ORDER_SERVICE, OPEN.map(OrderStatus::as_str))
        .once_per_key(ONCE_PER_ORDER)
        .provision_command("demo provision");
    let projecting = declarations.iter().filter(|service| !service.projections().is_empty());
    Ok(projecting.fold(system, |system, service| {
        let consumers = service.projections().iter().map(|projection| projection.consumer.as_str());
        system.projections(service.service(), consumers)
    }))
}
