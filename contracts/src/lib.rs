//! What the services of the shop say to each other.
//!
//! Commands, events, ids, money, subjects, and the topology of streams and consumers as data. No I/O and no
//! rules: every service depends on this crate, and it depends on none of them, nor on the messaging kit. A team
//! that starts a system of its own replaces this crate and keeps the library.
//!
//! In reading order: [`id`] and [`money`] parse at the edge, [`message`] declares closed sets of messages,
//! [`order`], [`inventory`], [`account`], and [`payment`] are the contexts, [`topology`] says which stream holds what and
//! who listens, [`catalogue`] lists every message with who says and who hears it, [`capacity`] says how much a
//! message can lead to.

pub mod account;
#[cfg(feature = "schemas")]
pub mod asyncapi;
pub mod capacity;
pub mod catalogue;
pub mod id;
pub mod inventory;
pub mod message;
pub mod money;
pub mod order;
pub mod payment;
pub mod query;
#[cfg(feature = "schemas")]
pub mod schema;
pub mod topology;

pub use id::{CustomerId, InvalidId, OrderId, ProductId};
pub use message::DecodeError;
pub use money::{Amount, Currency, InvalidAmount, InvalidQuantity, Quantity};
