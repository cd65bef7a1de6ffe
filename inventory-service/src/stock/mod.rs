//! The rules of stock: reservations, backorders, and the order of service.
//!
//! Pure: no I/O, no clock. [`Stock`] has the products, reservations, and queues; [`Stock::decide`] applies a
//! [`StockMessage`] and returns the events.
//!
//! # The order of service
//!
//! First come, first served, without starvation: the units of a waiting order are promised to it. A new order is
//! reserved only if every line fits into the available units that are not promised. Otherwise it waits, and its own
//! lines are promised, too. So orders without a common short product may overtake each other, and orders with one never
//! do.
//!
//! In other words: a waiting line is *in reach* if the available units cover it and all lines ahead of it on the same
//! product. An order is reserved as soon as all of its lines are in reach. Serving an order reduces the available units
//! and the promises ahead of later orders by the same number, so the set of served orders is known before the first is
//! served.
//!
//! Messages about orders arrive in any order, any number of times: the decision for an order id is kept forever.

mod decide;
mod state;

pub use contracts::declaration::StockMessage;
pub use decide::{Decided, lines_of};
pub use state::{Place, Product, Reservation, ReservationState, Stock};
