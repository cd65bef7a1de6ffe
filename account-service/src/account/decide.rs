//! The decision: the event that a command causes.

use contracts::CustomerId;
use contracts::account::{
    AccountChanged, AccountCommand, AccountCommandRefused, AccountDeleted, AccountEvent, AccountRefusal,
    CreateAccount, DeleteAccount, UpdateAccount,
};

use super::Account;

/// Returns the event that a command causes; `None` if the account already has the requested details.
///
/// A refusal is an event, too, and changes nothing.
#[must_use]
pub fn decide(account: &Account, command: &AccountCommand) -> Option<AccountEvent> {
    match command {
        AccountCommand::Create(create) => decide_create(account, create),
        AccountCommand::Update(update) => Some(decide_update(account, update)),
        AccountCommand::Delete(delete) => Some(decide_delete(account, delete)),
    }
}

fn decide_create(account: &Account, create: &CreateAccount) -> Option<AccountEvent> {
    let CreateAccount { customer_id, details } = create.clone();
    match account {
        Account::Open { details: current, .. } if *current == details => None,
        Account::Open { .. } => Some(refused(customer_id, AccountRefusal::AlreadyExists)),
        Account::Unknown | Account::Deleted { .. } => {
            Some(AccountChanged { customer_id, version: account.version() + 1, details }.into())
        }
    }
}

fn decide_update(account: &Account, update: &UpdateAccount) -> AccountEvent {
    let UpdateAccount { customer_id, expected_version, details } = update.clone();
    match next_version(account, expected_version) {
        Ok(version) => AccountChanged { customer_id, version, details }.into(),
        Err(reason) => refused(customer_id, reason),
    }
}

fn decide_delete(account: &Account, delete: &DeleteAccount) -> AccountEvent {
    let DeleteAccount { customer_id, expected_version } = delete.clone();
    match next_version(account, expected_version) {
        Ok(version) => AccountDeleted { customer_id, version }.into(),
        Err(reason) => refused(customer_id, reason),
    }
}

/// Returns the version after a change, if the expected version is the current one.
fn next_version(account: &Account, expected: i64) -> Result<i64, AccountRefusal> {
    match account {
        Account::Open { version, .. } if *version == expected => Ok(version + 1),
        Account::Open { version, .. } => Err(AccountRefusal::VersionConflict { version: *version }),
        Account::Unknown | Account::Deleted { .. } => Err(AccountRefusal::NotFound),
    }
}

fn refused(customer_id: CustomerId, reason: AccountRefusal) -> AccountEvent {
    AccountCommandRefused { customer_id, reason }.into()
}
