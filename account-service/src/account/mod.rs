//! The account aggregate: its states, decisions, and versions.
//!
//! Pure: no I/O, no clock. [`decide`] returns the event that a command causes, [`evolve`] applies it.
//!
//! Every change increases the version: the first is 1, and a deletion counts. An update or deletion has the version
//! that it expects. Of several with the same expected version the first wins; the others are refused, and the caller
//! must read the account again. A deleted account keeps its version. If it is created again, its versions continue from
//! there, so that no copy in another service takes a late event for a newer one.

mod decide;
mod evolve;

use contracts::account::AccountDetails;

pub use decide::decide;
pub use evolve::evolve;

/// The state of a customer's account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Account {
    /// The account was never created.
    #[default]
    Unknown,
    /// The account exists.
    Open {
        /// The number of changes.
        version: i64,
        /// The customer's details.
        details: AccountDetails,
    },
    /// The account was deleted.
    Deleted {
        /// The number of changes, including the deletion.
        version: i64,
    },
}

impl Account {
    /// Returns the number of changes; 0 if the account was never created.
    #[must_use]
    pub fn version(&self) -> i64 {
        match self {
            Self::Unknown => 0,
            Self::Open { version, .. } | Self::Deleted { version } => *version,
        }
    }
}
