//! The bodies of `POST /accounts` and `PUT /accounts/{id}`.

use choreography_http::code::Code;
use choreography_http::form::{Fields, Form, length, number, pattern, schema_of, text};
use choreography_http::parameter::Parameter;
use choreography_http::problem::{FieldError, Problem};
use contracts::CustomerId;
use contracts::account::{
    AccountDetails, Address, AddressType, Card, CardToken, Contact, CreateAccount, CreditLimit, Email, Expiry,
    LastFour, MAX_ADDRESSES, Phone, UpdateAccount,
};
use poem_openapi::Enum;

use super::parameters::{AccountId, IfMatch};
use crate::fields::{amount, currency, id, line};

/// The purpose of an address.
#[derive(Enum)]
#[oai(rename = "AddressType", rename_all = "kebab-case")]
pub(crate) enum AddressTypeName {
    /// For bills.
    Billing,
    /// For parcels.
    Shipping,
}

/// A request to create an account.
pub(crate) enum CreateAccountForm {}

impl Form for CreateAccountForm {
    type Value = CreateAccount;
    const NAME: &'static str = "CreateAccount";
    const ABOUT: &'static str = "An account to be created.\n\n\
        No text in it may contain a card number, or text that looks like one.";

    fn read(fields: &mut Fields<'_>) -> Option<CreateAccount> {
        let about = "The customer's id; orders refer to it as `customerId`.";
        let customer_id = fields.required("customerId", id(account_id), about);
        let details = details(fields);
        Some(CreateAccount { customer_id: customer_id?, details: details? })
    }
}

/// A valid request to change an account.
pub(crate) struct UpdateAccountForm {
    customer_id: Option<CustomerId>,
    version: Option<i64>,
    details: AccountDetails,
}

impl Form for UpdateAccountForm {
    type Value = Self;
    const NAME: &'static str = "UpdateAccount";
    const ABOUT: &'static str = "The new content of an account; it replaces the old one.\n\n\
        No text in it may contain a card number, or text that looks like one.";

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let about =
            "Optional, so that a client can send an account back as it was read; must equal the id in the path.";
        let customer_id = fields.optional("customerId", id(account_id), about);
        let about = "Optional, so that a client can send an account back as it was read; must equal the version in \
                     `If-Match`.";
        let version = fields.optional("version", number(schema_of::<i64>(), version), about);
        let details = details(fields);
        Some(Self { customer_id: customer_id?, version: version?, details: details? })
    }
}

impl UpdateAccountForm {
    /// Converts the form to a command; the optional id and version must match the path and `If-Match`.
    pub(crate) fn into_update(self, id: &CustomerId, expected: IfMatch) -> Result<UpdateAccount, Problem> {
        let mut errors = Vec::new();
        if self.customer_id.is_some_and(|customer_id| customer_id != *id) {
            errors.push(FieldError::pointer("/customerId", "must be the id in the path"));
        }
        if self.version.is_some_and(|version| version != expected.0) {
            errors.push(FieldError::pointer("/version", "must be the version in If-Match"));
        }
        if !errors.is_empty() {
            return Err(Problem::with_errors(Code::VALIDATION, errors));
        }
        Ok(UpdateAccount { customer_id: id.clone(), expected_version: expected.0, details: self.details })
    }
}

fn account_id(text: String) -> Result<CustomerId, String> {
    AccountId::parse(&text).map(|id| id.0)
}

fn version(version: i64) -> Result<i64, &'static str> {
    if version > 0 { Ok(version) } else { Err("must be a whole number from 1") }
}

fn details(fields: &mut Fields<'_>) -> Option<AccountDetails> {
    let name = fields.required("name", line(), "The customer's name, one line.");
    let about = "The customer's addresses; several of one type are allowed.";
    let addresses = fields.list::<AddressForm>("addresses", 0..=MAX_ADDRESSES, about);
    let contact = fields.object::<ContactForm>("contact", "How to reach the customer.");
    let about = "The customer's means of payment; without a card no order can be paid for.";
    let card = fields.optional_object::<CardForm>("card", about);
    let credit_limit = fields.object::<CreditLimitForm>("creditLimit", "How much the customer may owe at a time.");
    Some(AccountDetails {
        name: name?,
        addresses: addresses?,
        contact: contact?,
        card: card?,
        credit_limit: credit_limit?,
    })
}

/// A postal address.
pub(crate) enum AddressForm {}

impl Form for AddressForm {
    type Value = Address;
    const NAME: &'static str = "Address";
    const ABOUT: &'static str = "A postal address.";

    fn read(fields: &mut Fields<'_>) -> Option<Address> {
        let address_type =
            fields.required("type", text(schema_of::<AddressTypeName>(), address_type), "Its purpose.");
        let street = fields.required("street", line(), "Street and number, or an equivalent.");
        let postal_code = fields.required("postalCode", line(), "The postal code.");
        let city = fields.required("city", line(), "The town.");
        let country = fields.required("country", line(), "The country.");
        Some(Address {
            address_type: address_type?,
            street: street?,
            postal_code: postal_code?,
            city: city?,
            country: country?,
        })
    }
}

fn address_type(text: String) -> Result<AddressType, &'static str> {
    match text.as_str() {
        "billing" => Ok(AddressType::Billing),
        "shipping" => Ok(AddressType::Shipping),
        _ => Err("must be billing or shipping"),
    }
}

/// How to reach a customer.
pub(crate) enum ContactForm {}

impl Form for ContactForm {
    type Value = Contact;
    const NAME: &'static str = "Contact";
    const ABOUT: &'static str = "How to reach a customer.";

    fn read(fields: &mut Fields<'_>) -> Option<Contact> {
        let email = fields.required("email", text(length(0..=200), Email::parse), "An e-mail address.");
        let about = "A telephone number of 3 to 15 digits, in any usual notation.";
        let phone = fields.optional("phone", text(length(0..=40), Phone::parse), about);
        Some(Contact { email: email?, phone: phone? })
    }
}

/// A card without its number.
pub(crate) enum CardForm {}

impl Form for CardForm {
    type Value = Card;
    const NAME: &'static str = "Card";
    const ABOUT: &'static str = "A card as the payment provider knows it, without its number.";

    fn read(fields: &mut Fields<'_>) -> Option<Card> {
        let token = text(pattern("^[A-Za-z0-9_.-]{1,100}$"), CardToken::parse);
        let token = fields.required("token", token, "The payment provider's token for the card.");
        let brand = fields.required("brand", line(), "The brand, to display.");
        let about = "The last four digits of the card number, to display.";
        let last_four = fields.required("lastFour", text(pattern("^[0-9]{4}$"), LastFour::parse), about);
        let expiry = text(pattern("^[0-9]{4}-(0[1-9]|1[0-2])$"), Expiry::parse);
        let about = "The last month in which the card is valid, such as `2030-12`.";
        let expiry = fields.required("expiry", expiry, about);
        Some(Card { token: token?, brand: brand?, last_four: last_four?, expiry: expiry? })
    }
}

/// A limit for open payments.
pub(crate) enum CreditLimitForm {}

impl Form for CreditLimitForm {
    type Value = CreditLimit;
    const NAME: &'static str = "CreditLimit";
    const ABOUT: &'static str = "The total of paid and not refunded orders that a customer may have at a time.";

    fn read(fields: &mut Fields<'_>) -> Option<CreditLimit> {
        let amount = fields.required("amount", amount(), "In minor units.");
        let about = "An ISO 4217 code such as `EUR`; orders in another currency are not paid for.";
        let currency = fields.required("currency", currency(), about);
        Some(CreditLimit { amount: amount?, currency: currency? })
    }
}
