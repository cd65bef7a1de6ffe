//! The JSON of accounts, in requests and responses. It only describes, for OpenAPI, what `contracts` serialises.

use choreography::Durability;
use contracts::CustomerId;
use contracts::account::{MAX_ADDRESSES, MAX_LINE};
use contracts::money::MAX_AMOUNT;
use poem_openapi::{Enum, Object};

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
    addresses: Vec<Address>,
    /// How to reach the customer.
    contact: Contact,
    /// The customer's means of payment; absent if there is no card.
    card: Option<Card>,
    /// How much the customer may owe at a time.
    credit_limit: CreditLimit,
}

/// The purpose of an address.
#[derive(Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum AddressType {
    /// For bills.
    Billing,
    /// For parcels.
    Shipping,
}

/// A postal address.
#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Address {
    /// Its purpose.
    r#type: AddressType,
    /// Street and number, or an equivalent.
    #[oai(validator(min_length = 1, max_length = 200))]
    street: String,
    /// The postal code.
    #[oai(validator(min_length = 1, max_length = 200))]
    postal_code: String,
    /// The town.
    #[oai(validator(min_length = 1, max_length = 200))]
    city: String,
    /// The country.
    #[oai(validator(min_length = 1, max_length = 200))]
    country: String,
}

/// How to reach a customer.
#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Contact {
    /// An e-mail address.
    #[oai(validator(max_length = 200))]
    email: String,
    /// A telephone number of 3 to 15 digits, in any usual notation.
    #[oai(validator(max_length = 40))]
    phone: Option<String>,
}

/// A card as the payment provider knows it, without its number.
#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Card {
    /// The payment provider's token for the card.
    #[oai(validator(pattern = "^[A-Za-z0-9_.-]{1,100}$"))]
    token: String,
    /// The brand, to display.
    #[oai(validator(min_length = 1, max_length = 200))]
    brand: String,
    /// The last four digits of the card number, to display.
    #[oai(validator(pattern = "^[0-9]{4}$"))]
    last_four: String,
    /// The last month in which the card is valid, such as `2030-12`.
    #[oai(validator(pattern = "^[0-9]{4}-(0[1-9]|1[0-2])$"))]
    expiry: String,
}

/// The total of paid and not refunded orders that a customer may have at a time.
#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreditLimit {
    /// In minor units.
    #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    amount: i64,
    /// An ISO 4217 code such as `EUR`; orders in another currency are not paid for.
    #[oai(validator(pattern = "^[A-Z]{3}$"))]
    currency: String,
}

// The macro accepts only literals in schemas.
const _: () = assert!(MAX_ADDRESSES == 10 && MAX_LINE == 200 && MAX_AMOUNT == 9_007_199_254_740_991);

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
