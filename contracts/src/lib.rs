//! The messages of the shop's services.
//!
//! Commands, events, ids, money, and the topology of streams and consumers as data. No I/O and no business rules: every
//! service depends on this crate, and it depends on none of them. The derives of [`choreography`] declare the messages.
//! A team that builds its own system replaces this crate and keeps the library.
//!
//! In reading order: [`id`] and [`money`] parse at the edge, [`order`], [`inventory`], [`account`], [`payment`], and
//! [`identity`] are the contexts with their messages, [`topology`] declares the streams, [`declaration`] what each service consumes and
//! publishes, [`capacity`] bounds the volume of follow-up events.

pub mod account;
#[cfg(feature = "schemas")]
pub mod asyncapi;
pub mod capacity;
pub mod declaration;
pub mod id;
pub mod identity;
pub mod inventory;
pub mod money;
pub mod order;
pub mod payment;
pub mod query;
#[cfg(feature = "schemas")]
pub mod schema;
pub mod topology;

pub use id::{CustomerId, InvalidId, OrderId, ProductId};
pub use money::{Amount, Currency, InvalidAmount, InvalidQuantity, Quantity};

/// An example body per message type, as JSON: `{"order.placed.v1": {…}, …}`.
pub const EXAMPLES: &str = include_str!("../examples.json");
