//! What is kept of an account.

use contracts::CustomerId;
use contracts::account::{AccountChanged, AccountDeleted, AccountEvent};

/// News of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountMessage {
    /// The account is now as the event says.
    Changed(AccountChanged),
    /// The account is no more.
    Deleted(AccountDeleted),
}

impl AccountMessage {
    /// Takes an event, where it changes an account.
    #[must_use]
    pub fn of(event: AccountEvent) -> Option<Self> {
        match event {
            AccountEvent::Changed(event) => Some(Self::Changed(event)),
            AccountEvent::Deleted(event) => Some(Self::Deleted(event)),
            AccountEvent::Refused(_) => None,
        }
    }

    /// Returns whose account it is.
    #[must_use]
    pub fn customer_id(&self) -> &CustomerId {
        match self {
            Self::Changed(event) => &event.customer_id,
            Self::Deleted(event) => &event.customer_id,
        }
    }

    fn version(&self) -> i64 {
        match self {
            Self::Changed(event) => event.version,
            Self::Deleted(event) => event.version,
        }
    }
}

/// A customer, as far as this service knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Customer {
    /// The version of the account this was taken from; 0 where nothing has been heard of it.
    pub version: i64,
    /// How to greet and to reach them.
    pub reachable: Reachable,
}

/// Whether a customer can be written to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reachable {
    /// Nothing has been heard of the account, yet.
    #[default]
    NotYet,
    /// There is an account.
    By {
        /// The customer's name.
        name: String,
        /// Where mail goes.
        email: String,
    },
    /// The account was deleted. Its version stays, so that an older change that comes late does not bring it back.
    NoMore,
}

impl Customer {
    /// Applies news of the account, where they are newer than what is known, and says whether they were. So neither
    /// their order nor their repetition matters.
    pub fn apply(&mut self, message: &AccountMessage) -> bool {
        if message.version() <= self.version {
            return false;
        }
        self.version = message.version();
        self.reachable = match message {
            AccountMessage::Changed(event) => Reachable::By {
                name: event.details.name.as_str().to_owned(),
                email: event.details.contact.email.as_str().to_owned(),
            },
            AccountMessage::Deleted(_) => Reachable::NoMore,
        };
        true
    }

    /// Returns the customer's name, where there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.reachable {
            Reachable::By { name, .. } => Some(name),
            Reachable::NotYet | Reachable::NoMore => None,
        }
    }
}
