//! The account context: the name, addresses, contact, and card of each customer.
//!
//! An event carries the whole account and its version (event-carried state transfer), so that other services keep a
//! copy of the data they need and never query. A copy applies an event only if its version is newer than the copy's;
//! so neither order nor duplicates matter. A deleted account keeps its version, so that a late event does not restore
//! it.

use choreography::{Command, Event, Messages};
use serde::{Deserialize, Serialize};

use crate::topology::{ACCOUNT_SERVICE, API_GATEWAY};
use crate::{Amount, Currency, CustomerId};

mod card;
mod text;

pub use card::{
    Card, CardToken, Expiry, InvalidCardToken, InvalidExpiry, InvalidLastFour, LastFour, looks_like_a_card_number,
};
pub use text::{Email, InvalidText, Line, MAX_LINE, Phone};

/// The maximum number of addresses per account.
pub const MAX_ADDRESSES: usize = 10;

/// The commands of the account context.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum AccountCommand {
    /// Create an account.
    Create(CreateAccount),
    /// Replace the details of an account.
    Update(UpdateAccount),
    /// Delete an account.
    Delete(DeleteAccount),
}

/// The events of the account context.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum AccountEvent {
    /// An account was created or changed; the event carries the whole account.
    Changed(AccountChanged),
    /// An account was deleted.
    Deleted(AccountDeleted),
    /// A command was refused; the account is unchanged.
    Refused(AccountCommandRefused),
}

/// The purpose of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AddressType {
    /// For bills.
    Billing,
    /// For parcels.
    Shipping,
}

/// An address; an account may have several of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// The purpose.
    #[serde(rename = "type")]
    pub address_type: AddressType,
    /// The street and the number, or an equivalent.
    pub street: Line,
    /// The postal code.
    pub postal_code: Line,
    /// The town.
    pub city: Line,
    /// The country.
    pub country: Line,
}

/// The contact data of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// The e-mail address.
    pub email: Email,
    /// The telephone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
}

/// The maximum exposure of a customer: the total of the payments that are not refunded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreditLimit {
    /// The amount, in minor units.
    pub amount: Amount,
    /// The currency; orders in another currency are declined.
    #[cfg_attr(feature = "schemas", schemars(with = "crate::schema::CurrencyCode"))]
    pub currency: Currency,
}

/// The details of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AccountDetails {
    /// The customer's name.
    pub name: Line,
    /// The addresses, at most ten.
    #[cfg_attr(feature = "schemas", schemars(length(max = MAX_ADDRESSES)))]
    pub addresses: Vec<Address>,
    /// The contact data.
    pub contact: Contact,
    /// The card for payments, if the customer has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
    /// The credit limit.
    pub credit_limit: CreditLimit,
}

/// Create an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "account", name = "create", version = 1, key = customer_id, producer = API_GATEWAY)]
pub struct CreateAccount {
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The details of the account.
    pub details: AccountDetails,
}

/// Replace the details of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "account", name = "update", version = 1, key = customer_id, producer = API_GATEWAY)]
pub struct UpdateAccount {
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The version that the change is based on; refused if it is not the current one.
    pub expected_version: i64,
    /// The new details of the account.
    pub details: AccountDetails,
}

/// Delete an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "account", name = "delete", version = 1, key = customer_id, producer = API_GATEWAY)]
pub struct DeleteAccount {
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The version to delete; refused if it is not the current one.
    pub expected_version: i64,
}

/// An account was created or changed; the event carries the whole account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "account", name = "changed", version = 1, key = customer_id, producer = ACCOUNT_SERVICE)]
pub struct AccountChanged {
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The number of changes so far, including this one and deletions.
    pub version: i64,
    /// The details of the account.
    pub details: AccountDetails,
}

/// An account was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "account", name = "deleted", version = 1, key = customer_id, producer = ACCOUNT_SERVICE)]
pub struct AccountDeleted {
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The number of changes so far, including this one.
    pub version: i64,
}

/// The reason why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "code")]
pub enum AccountRefusal {
    /// The customer has an account with other details.
    AlreadyExists,
    /// The customer has no account.
    NotFound,
    /// The account has another version than the command expects.
    VersionConflict {
        /// The current version.
        version: i64,
    },
}

/// A command was refused; the account is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "account", name = "refused", version = 1, key = customer_id, producer = ACCOUNT_SERVICE)]
pub struct AccountCommandRefused {
    /// The id of the customer.
    pub customer_id: CustomerId,
    /// The reason.
    pub reason: AccountRefusal,
}
