//! The rules of payments: when one is due, authorisation, capture, void, and refund.
//!
//! Pure: no I/O, no clock. [`Aggregates`] has the payments, accounts, and exposures. [`Aggregates::apply`] takes
//! messages, [`Aggregates::record`] takes outcomes of calls to the payment provider; both return events.
//!
//! # A payment
//!
//! ```text
//!                       ┌─ no copy of the account ─► awaiting account ─┐
//! placed and reserved ──┤                                              ├─► declined
//!                       └─────────────── checked ◄─────────────────────┘
//!                                           └─► capturing ─┬─► captured ─ cancelled ─► refunding ─► refunded
//!                                                          └─► declined
//! ```
//!
//! If an order is cancelled before the first call to the provider, its payment is cancelled. If it is cancelled during
//! a call, the payment remembers it: a capture that turns out to have succeeded is refunded, and a capture whose
//! response was lost is voided instead of repeated.
//!
//! Messages arrive in any order, any number of times: a cancellation that arrives first leaves a tombstone.
//!
//! # Exposure
//!
//! A payment that is capturing, voiding, captured, or refunding counts against the limit of the account. It counts from
//! the moment at which a capture may be sent until the customer certainly has the money, so the sum of all captures
//! never exceeds the limit. The sum is per customer and currency: there is no rate between currencies.
//!
//! # In doubt
//!
//! A capture without a response is repeated with the same key. Once it is overdue, the service looks the key up at the
//! provider. If the provider does not know it, the service voids the key. It records the state `voiding` before it
//! sends the void: a request can be late, and a capture that one request voids must not count because another request
//! found it in between. Each attempt has a number, and the outcome of an attempt that is not the latest is ignored.

mod account;
mod aggregates;
mod outcome;
mod state;

pub use account::{Account, Terms};
pub use aggregates::{Aggregates, Decided, Policy};
pub use contracts::declaration::PaymentMessage;
pub use outcome::{Call, Outcome};
pub(crate) use state::MAX_RETRY_AFTER;
pub use state::{Charge, Payment, State};
