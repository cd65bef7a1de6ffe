//! given / when / then for one account.

use account_service::account::{Account, decide, evolve};
use contracts::CustomerId;
use contracts::account::{
    AccountChanged, AccountCommand, AccountCommandRefused, AccountDeleted, AccountDetails, AccountEvent,
    AccountRefusal, CreateAccount, DeleteAccount, UpdateAccount,
};
use serde_json::json;

pub(crate) const CUSTOMER: &str = "CUSTOMER_001";

pub(crate) fn customer(id: &str) -> CustomerId {
    CustomerId::parse(id).unwrap()
}

/// The details of an account of that name.
pub(crate) fn details(name: &str) -> AccountDetails {
    serde_json::from_value(json!({
        "name": name,
        "addresses": [{
            "type": "shipping", "street": "Unter den Linden 77", "postalCode": "10117", "city": "Berlin",
            "country": "DE"
        }],
        "contact": {"email": "zoe@example.org"},
        "card": {"token": "tok_zoe", "brand": "Visa", "lastFour": "1111", "expiry": "2030-12"},
        "creditLimit": {"amount": 100_000, "currency": "EUR"}
    }))
    .unwrap()
}

pub(crate) fn create_of(id: &str, name: &str) -> AccountCommand {
    CreateAccount { customer_id: customer(id), details: details(name) }.into()
}

pub(crate) fn update_of(id: &str, expected_version: i64, name: &str) -> AccountCommand {
    UpdateAccount { customer_id: customer(id), expected_version, details: details(name) }.into()
}

pub(crate) fn delete_of(id: &str, expected_version: i64) -> AccountCommand {
    DeleteAccount { customer_id: customer(id), expected_version }.into()
}

pub(crate) fn create(name: &str) -> AccountCommand {
    create_of(CUSTOMER, name)
}

pub(crate) fn update(expected_version: i64, name: &str) -> AccountCommand {
    update_of(CUSTOMER, expected_version, name)
}

pub(crate) fn delete(expected_version: i64) -> AccountCommand {
    delete_of(CUSTOMER, expected_version)
}

pub(crate) fn changed(version: i64, name: &str) -> AccountEvent {
    AccountChanged { customer_id: customer(CUSTOMER), version, details: details(name) }.into()
}

pub(crate) fn deleted(version: i64) -> AccountEvent {
    AccountDeleted { customer_id: customer(CUSTOMER), version }.into()
}

pub(crate) fn refused(reason: AccountRefusal) -> AccountEvent {
    AccountCommandRefused { customer_id: customer(CUSTOMER), reason }.into()
}

pub(crate) fn conflict(version: i64) -> AccountEvent {
    refused(AccountRefusal::VersionConflict { version })
}

/// Applies a command to an account, and returns the event.
pub(crate) fn apply(account: &mut Account, command: &AccountCommand) -> Option<AccountEvent> {
    let event = decide(account, command)?;
    *account = evolve(std::mem::take(account), &event);
    Some(event)
}

/// An account, and its latest event.
pub(crate) struct Given {
    account: Account,
    event: Option<AccountEvent>,
}

/// An account with a history.
pub(crate) fn given(history: &[AccountEvent]) -> Given {
    Given { account: history.iter().fold(Account::default(), evolve), event: None }
}

impl Given {
    /// Applies the command under test.
    pub(crate) fn when(mut self, command: &AccountCommand) -> Self {
        self.event = apply(&mut self.account, command);
        self
    }

    #[track_caller]
    pub(crate) fn then(self, expected: &AccountEvent) -> Self {
        assert_eq!(self.event.as_ref(), Some(expected));
        self
    }

    #[track_caller]
    pub(crate) fn then_nothing(self) -> Self {
        assert_eq!(self.event, None);
        self
    }

    /// The state of the account.
    #[track_caller]
    pub(crate) fn is(self, expected: &Account) -> Self {
        assert_eq!(&self.account, expected);
        self
    }
}
