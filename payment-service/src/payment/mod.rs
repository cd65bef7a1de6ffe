//! The rules of payments: what is due, whether it may be taken, and what becomes of it.
//!
//! Pure: no I/O, no clock. [`Aggregates`] holds what is known of payments, accounts, and exposures; it is told what others
//! say ([`Aggregates::apply`]) and what the payment provider answers ([`Aggregates::record`]), and says what happened.
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
//! An order that is cancelled before the provider was asked is cancelled and nothing else. One that is cancelled
//! while the provider is being asked remembers it: what the provider turns out to have taken is given back, and where
//! its answer was lost it is not asked to take the money again, but to take none.
//!
//! Messages come in any order, any number of times: a cancel that comes first leaves a tombstone.
//!
//! # Exposure
//!
//! What is being captured, captured, or being refunded counts against the limit of the account. It counts from the
//! moment the provider may be asked until it is certain that the customer has the money, so that the sum of what was
//! taken can never exceed the limit. It is counted by customer and currency: there is no rate between currencies.
//!
//! # In doubt
//!
//! A capture that was asked for and not answered is asked for again with the same key. Once it is overdue, the
//! provider is asked what it knows. Where that is nothing, it is told to take nothing under that key any more, and
//! that this may have been said is recorded before it is: a request can be late, and what one of them undoes must not
//! count as captured because another found it captured in between. Each attempt has a number, and an answer to an
//! attempt that is not the latest says nothing.

mod account;
mod aggregates;
mod outcome;
mod state;

pub use account::{Account, Terms};
pub use aggregates::{Aggregates, Decided, Policy};
pub use outcome::{Call, Outcome};
pub(crate) use state::LONGEST_WAIT;
pub use state::{Charge, Payment, State};

use contracts::account::{AccountChanged, AccountDeleted};
use contracts::inventory::StockReserved;
use contracts::order::{OrderCancelled, OrderPlaced};
use contracts::{CustomerId, OrderId};

/// What a payment depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentMessage {
    /// An account is now as it says.
    AccountChanged(AccountChanged),
    /// An account is no more.
    AccountDeleted(AccountDeleted),
    /// An order exists: who pays how much.
    Placed(OrderPlaced),
    /// The stock of an order is reserved: its payment is due.
    Reserved(StockReserved),
    /// An order is void.
    Cancelled(OrderCancelled),
}

impl PaymentMessage {
    /// Returns the order it is about, if it is about one.
    #[must_use]
    pub fn order_id(&self) -> Option<&OrderId> {
        match self {
            Self::AccountChanged(_) | Self::AccountDeleted(_) => None,
            Self::Placed(order) => Some(&order.order_id),
            Self::Reserved(stock) => Some(&stock.order_id),
            Self::Cancelled(order) => Some(&order.order_id),
        }
    }

    /// Returns the account it is about, if it is about one.
    #[must_use]
    pub fn account(&self) -> Option<(CustomerId, Account)> {
        match self {
            Self::AccountChanged(changed) => {
                Some((changed.customer_id.clone(), Account::known(changed.version, &changed.details)))
            }
            Self::AccountDeleted(deleted) => Some((deleted.customer_id.clone(), Account::deleted(deleted.version))),
            Self::Placed(_) | Self::Reserved(_) | Self::Cancelled(_) => None,
        }
    }
}
