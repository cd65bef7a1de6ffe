//! The rules of accounts: who may change one, and what it is afterwards.
//!
//! Pure: no I/O, no clock. [`decide`] says what a command brings about, [`evolve`] applies it.
//!
//! Every change makes a version: the first one is 1, and deleting counts. A change names the version it was made on,
//! and of several that were made on the same one the first wins; the others are refused and must look again. A
//! deleted account leaves its version behind, so that the versions of an account that is created anew go on from there
//! and no copy elsewhere mistakes a late event for news.

mod decide;
mod evolve;

use contracts::account::AccountDetails;

pub use decide::decide;
pub use evolve::evolve;

/// What is known of a customer's account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Account {
    /// There never was one.
    #[default]
    Unknown,
    /// There is one.
    Open {
        /// How many changes there have been.
        version: i64,
        /// What it says.
        details: AccountDetails,
    },
    /// There was one.
    Deleted {
        /// How many changes there have been, the deletion included.
        version: i64,
    },
}

impl Account {
    /// Returns how many changes there have been.
    #[must_use]
    pub fn version(&self) -> i64 {
        match self {
            Self::Unknown => 0,
            Self::Open { version, .. } | Self::Deleted { version } => *version,
        }
    }
}
