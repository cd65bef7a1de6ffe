//! The JSON of accounts, in requests and responses. It only describes, for OpenAPI, what `contracts` serialises.

use choreography::Durability;
use choreography_http::form::Shape;
use contracts::CustomerId;
use poem_openapi::{Enum, Object};

use super::form::{AddressForm, CardForm, ContactForm, CreditLimitForm};

/// An account.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Account {
    /// The customer's id.
    #[oai(validator(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    customer_id: String,
    /// How many changes there have been; the number in the `ETag`.
    version: i64,
    /// The customer's name.
    name: String,
    /// At most ten; several of one type are allowed.
    addresses: Vec<Shape<AddressForm>>,
    /// How to reach the customer.
    contact: Shape<ContactForm>,
    /// The customer's means of payment; absent if there is no card.
    card: Option<Shape<CardForm>>,
    /// How much the customer may owe at a time.
    credit_limit: Shape<CreditLimitForm>,
}

/// An account operation whose command is stored.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct AccountAccepted {
    /// The customer's id.
    customer_id: String,
    /// Always `accepted`.
    status: AcceptedAccount,
    /// The failures that the stored command survives, as for an order.
    durability: String,
}

#[derive(Debug, Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum AcceptedAccount {
    Accepted,
}

impl AccountAccepted {
    pub(crate) fn new(customer_id: &CustomerId, durability: Durability) -> Self {
        let (customer_id, durability) = (customer_id.to_string(), durability.to_string());
        Self { customer_id, status: AcceptedAccount::Accepted, durability }
    }
}
