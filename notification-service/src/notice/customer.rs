//! The copy of an account: its name and mail address.

use contracts::declaration::AccountMessage;

/// The copy of a customer's account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Customer {
    /// The version of the account in account-service; 0 if no event has arrived.
    pub version: i64,
    /// The name and the mail address.
    pub contact: Contact,
}

/// The contact data of a customer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Contact {
    /// No event of the account has arrived.
    #[default]
    Unknown,
    /// The account exists.
    Known {
        /// The customer's name.
        name: String,
        /// The mail address.
        email: String,
    },
    /// The account was deleted. Its version stays, so that an older change that arrives late does not restore it.
    Deleted,
}

impl Customer {
    /// Applies a change if its version is newer. So neither the order nor the repetition of events matters.
    pub fn apply(&mut self, message: &AccountMessage) {
        if message.version() <= self.version {
            return;
        }
        self.version = message.version();
        self.contact = match message {
            AccountMessage::Changed(event) => Contact::Known {
                name: event.details.name.as_str().to_owned(),
                email: event.details.contact.email.as_str().to_owned(),
            },
            AccountMessage::Deleted(_) => Contact::Deleted,
        };
    }

    /// Returns the customer's name, if it is known.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.contact {
            Contact::Known { name, .. } => Some(name),
            Contact::Unknown | Contact::Deleted => None,
        }
    }
}
