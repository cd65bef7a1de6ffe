//! What accounts look like, in bodies and in answers. Only describes, for OpenAPI, what `contracts` writes.

use contracts::CustomerId;
use contracts::account::{MAX_ADDRESSES, MAX_LINE};
use contracts::money::MAX_AMOUNT;
use messaging::Durability;
use poem_openapi::{Enum, Object};

/// An account as it stands.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Account {
    /// Whose.
    #[oai(validator(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    customer_id: String,
    /// How many changes there have been; the number in `ETag`.
    version: i64,
    /// The customer's name.
    name: String,
    /// At most ten, several of a type if need be.
    addresses: Vec<Address>,
    /// How to reach the customer.
    contact: Contact,
    /// How the customer pays; absent until there is a card.
    card: Option<Card>,
    /// How much may be paid for at a time.
    credit_limit: CreditLimit,
}

/// What an address is for.
#[derive(Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum AddressType {
    /// Where bills go.
    Billing,
    /// Where parcels go.
    Shipping,
}

/// An address.
#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Address {
    /// What it is for.
    r#type: AddressType,
    /// Street and number, or what stands for them.
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

/// What is known of a card: never its number.
#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Card {
    /// What the payment provider knows the card by.
    #[oai(validator(pattern = "^[A-Za-z0-9_.-]{1,100}$"))]
    token: String,
    /// The brand, for people.
    #[oai(validator(min_length = 1, max_length = 200))]
    brand: String,
    /// The last four digits of its number, for people.
    #[oai(validator(pattern = "^[0-9]{4}$"))]
    last_four: String,
    /// The last month in which it is good, such as `2030-12`.
    #[oai(validator(pattern = "^[0-9]{4}-(0[1-9]|1[0-2])$"))]
    expiry: String,
}

/// How much of the customer's orders may be paid for and not refunded at a time.
#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreditLimit {
    /// In minor units.
    #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    amount: i64,
    /// A code of ISO 4217 such as `EUR`; orders in another currency are not paid for.
    #[oai(validator(pattern = "^[A-Z]{3}$"))]
    currency: String,
}

// The numbers in the schemas are literals because the macro wants literals.
const _: () = assert!(MAX_ADDRESSES == 10 && MAX_LINE == 200 && MAX_AMOUNT == 9_007_199_254_740_991);

/// An account whose command is stored.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct AccountAccepted {
    /// Whose.
    customer_id: String,
    /// Always `accepted`.
    status: AcceptedAccount,
    /// What the command survives from now on, as for an order.
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
