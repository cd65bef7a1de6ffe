//! given / when / then over one account.

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

/// What the account of somebody of that name says.
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

/// Tells an account a command, and returns what happened.
pub(crate) fn tell(account: &mut Account, command: &AccountCommand) -> Option<AccountEvent> {
    let event = decide(account, command)?;
    *account = evolve(std::mem::take(account), &event);
    Some(event)
}

/// An account, and what happened to it last.
pub(crate) struct Given {
    account: Account,
    event: Option<AccountEvent>,
}

/// An account with a history.
pub(crate) fn given(history: &[AccountEvent]) -> Given {
    Given { account: history.iter().fold(Account::default(), evolve), event: None }
}

impl Given {
    /// What the test is about.
    pub(crate) fn when(mut self, command: &AccountCommand) -> Self {
        self.event = tell(&mut self.account, command);
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

    /// Where the account stands.
    #[track_caller]
    pub(crate) fn is(self, expected: &Account) -> Self {
        assert_eq!(&self.account, expected);
        self
    }
}
