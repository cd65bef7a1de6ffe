//! The evolution: the state of an account after an event.

use contracts::account::AccountEvent;

use super::Account;

/// Applies an event of the account's own history.
#[must_use]
pub fn evolve(account: Account, event: &AccountEvent) -> Account {
    match event {
        AccountEvent::Changed(changed) => {
            Account::Open { version: changed.version, details: changed.details.clone() }
        }
        AccountEvent::Deleted(deleted) => Account::Deleted { version: deleted.version },
        AccountEvent::Refused(_) => account,
    }
}
