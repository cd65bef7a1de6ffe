//! The rules of stock: who gets which units, and in what order.
//!
//! Pure: no I/O, no clock. [`Stock`] holds what is known of products and orders, [`StockMessage`] is what can be
//! told to it, and [`Stock::decide`] changes it and says what happened.
//!
//! # Who is served
//!
//! First come, first served, and nobody starves: the units a waiting order asks for are promised to it. A new order
//! is reserved only where every one of its lines fits beside all that is promised; otherwise it waits, and its own
//! lines are promised too. So orders that share no short product pass one another, and orders that do share one never
//! overtake.
//!
//! Put differently: a waiting line is *in reach* where it and everything promised ahead of it on the same product fit
//! into what is available, and an order is reserved as soon as all of its lines are in reach. Serving an order takes
//! from what is available exactly what it takes off the promises ahead of those behind it, so whom a change serves
//! is known before anyone is served.
//!
//! Orders come and go in any order, any number of times: what is decided for an order id is remembered for good.

mod decide;
mod state;

pub use decide::{Decided, StockMessage, lines_of};
pub use state::{Place, Product, Reservation, ReservationState, Stock};
