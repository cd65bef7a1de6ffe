//! The account context: who the customers are, where they live, and how they pay.
//!
//! An event carries the whole account and its version (event-carried state transfer), so that others keep a copy of
//! what they need and never ask: a copy applies an event only if its version is newer than what it has, and then
//! neither order nor repetition matters. An account that is deleted leaves its version behind, so that a change that
//! is delivered late does not bring it back.

use serde::{Deserialize, Serialize};

use crate::message::messages;
use crate::{Amount, Currency, CustomerId};

mod card;
mod text;

pub use card::{
    Card, CardToken, Expiry, InvalidCardToken, InvalidExpiry, InvalidLastFour, LastFour, looks_like_a_card_number,
};
pub use text::{Email, InvalidText, Line, MAX_LINE, Phone};

/// The most addresses an account may have.
pub const MAX_ADDRESSES: usize = 10;

messages! {
    /// What others ask of the account context.
    pub enum AccountCommand in "account" as "command" {
        /// Create an account.
        Create(CreateAccount) = "create" v 1, key customer_id;
        /// Replace what an account says.
        Update(UpdateAccount) = "update" v 1, key customer_id;
        /// Delete an account.
        Delete(DeleteAccount) = "delete" v 1, key customer_id;
    }
}

messages! {
    /// What has happened to an account.
    pub enum AccountEvent in "account" as "event" {
        /// The account is now as the event says, whole.
        Changed(AccountChanged) = "changed" v 1, key customer_id;
        /// The account is no more.
        Deleted(AccountDeleted) = "deleted" v 1, key customer_id;
        /// A command was refused; nothing changed.
        Refused(AccountCommandRefused) = "refused" v 1, key customer_id;
    }
}

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AddressType {
    /// Where bills go.
    Billing,
    /// Where parcels go.
    Shipping,
}

/// An address; an account may have several of a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// What it is for.
    #[serde(rename = "type")]
    pub address_type: AddressType,
    /// Street and number, or what stands for them.
    pub street: Line,
    /// The postal code.
    pub postal_code: Line,
    /// The town.
    pub city: Line,
    /// The country.
    pub country: Line,
}

/// How to reach the customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// By mail.
    pub email: Email,
    /// By telephone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
}

/// How much of the customer's orders may be paid for and not refunded at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreditLimit {
    /// In minor units.
    pub amount: Amount,
    /// The currency; orders in another one are not paid for.
    #[cfg_attr(feature = "schemas", schemars(with = "crate::schema::CurrencyCode"))]
    pub currency: Currency,
}

/// What an account says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AccountDetails {
    /// The customer's name.
    pub name: Line,
    /// Where bills and parcels go; ten at most.
    #[cfg_attr(feature = "schemas", schemars(length(max = MAX_ADDRESSES)))]
    pub addresses: Vec<Address>,
    /// How to reach the customer.
    pub contact: Contact,
    /// How the customer pays; none until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
    /// How much may be paid for at a time.
    pub credit_limit: CreditLimit,
}

/// Create an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreateAccount {
    /// Whose.
    pub customer_id: CustomerId,
    /// What it says.
    pub details: AccountDetails,
}

/// Replace what an account says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct UpdateAccount {
    /// Whose.
    pub customer_id: CustomerId,
    /// The version that the change was made on; refused where it is not the account's.
    pub expected_version: i64,
    /// What it says from now on.
    pub details: AccountDetails,
}

/// Delete an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeleteAccount {
    /// Whose.
    pub customer_id: CustomerId,
    /// The version that is to be deleted; refused where it is not the account's.
    pub expected_version: i64,
}

/// The account is now as the event says, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AccountChanged {
    /// Whose.
    pub customer_id: CustomerId,
    /// How many changes there have been, this one included; deletions count.
    pub version: i64,
    /// What it says.
    pub details: AccountDetails,
}

/// The account is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AccountDeleted {
    /// Whose it was.
    pub customer_id: CustomerId,
    /// How many changes there have been, this one included.
    pub version: i64,
}

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "code")]
pub enum AccountRefusal {
    /// There is an account of that customer, which says something else.
    AlreadyExists,
    /// There is no account of that customer.
    NotFound,
    /// The account has changed since.
    VersionConflict {
        /// The version it has.
        version: i64,
    },
}

/// A command was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AccountCommandRefused {
    /// Whose account it was about.
    pub customer_id: CustomerId,
    /// Why.
    pub reason: AccountRefusal,
}
