//! The bodies of `POST /accounts` and `PUT /accounts/{id}`.

use contracts::account::{
    AccountDetails, Address, AddressType, Card, CardToken, Contact, CreateAccount, CreditLimit, Email, Expiry,
    LastFour, Line, MAX_ADDRESSES, Phone, UpdateAccount,
};
use contracts::{Amount, CustomerId};
use poem_openapi::Object;

use super::parameters::{AccountId, IfMatch};
use super::representation;
use crate::body::{Fields, Form, currency, number, text};
use crate::parameter::Parameter;
use crate::problem::{Code, FieldError, Problem};

/// An account to be created.
///
/// No text in it may contain a card number, or text that looks like one.
#[derive(Object)]
#[oai(rename = "CreateAccount", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateAccountSchema {
    /// The customer's id; orders refer to it as `customerId`.
    #[oai(validator(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    customer_id: String,
    /// The customer's name, one line.
    #[oai(validator(min_length = 1, max_length = 200))]
    name: String,
    /// The customer's addresses; several of one type are allowed.
    #[oai(validator(max_items = 10))]
    addresses: Vec<representation::Address>,
    /// How to reach the customer.
    contact: representation::Contact,
    /// The customer's means of payment; without a card no order can be paid for.
    card: Option<representation::Card>,
    /// How much the customer may owe at a time.
    credit_limit: representation::CreditLimit,
}

/// The new content of an account; it replaces the old one.
///
/// No text in it may contain a card number, or text that looks like one.
#[derive(Object)]
#[oai(rename = "UpdateAccount", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UpdateAccountSchema {
    /// Optional, so that a client can send an account back as it was read; must equal the id in the path.
    #[oai(validator(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    customer_id: Option<String>,
    /// Optional, so that a client can send an account back as it was read; must equal the version in `If-Match`.
    version: Option<i64>,
    /// The customer's name, one line.
    #[oai(validator(min_length = 1, max_length = 200))]
    name: String,
    /// The customer's addresses; several of one type are allowed.
    #[oai(validator(max_items = 10))]
    addresses: Vec<representation::Address>,
    /// How to reach the customer.
    contact: representation::Contact,
    /// The customer's means of payment; without a card no order can be paid for.
    card: Option<representation::Card>,
    /// How much the customer may owe at a time.
    credit_limit: representation::CreditLimit,
}

/// A valid request to create an account.
pub(crate) struct CreateAccountForm {
    customer_id: CustomerId,
    details: AccountDetails,
}

impl Form for CreateAccountForm {
    type Schema = CreateAccountSchema;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let customer_id = fields.required("customerId", text(account_id));
        let details = details(fields);
        Some(Self { customer_id: customer_id?, details: details? })
    }
}

impl CreateAccountForm {
    /// Converts the form to a command.
    pub(crate) fn into_creation(self) -> CreateAccount {
        CreateAccount { customer_id: self.customer_id, details: self.details }
    }
}

/// A valid request to change an account.
pub(crate) struct UpdateAccountForm {
    customer_id: Option<CustomerId>,
    version: Option<i64>,
    details: AccountDetails,
}

impl Form for UpdateAccountForm {
    type Schema = UpdateAccountSchema;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let customer_id = fields.optional("customerId", text(account_id));
        let version = fields.optional("version", number(version));
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
            return Err(Problem::with_errors(Code::Validation, errors));
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
    let name = fields.required("name", text(Line::parse));
    let addresses = fields.list("addresses", 0..=MAX_ADDRESSES, address);
    let contact = fields.object("contact", contact);
    let card = fields.optional_object("card", card);
    let credit_limit = fields.object("creditLimit", credit_limit);
    Some(AccountDetails {
        name: name?,
        addresses: addresses?,
        contact: contact?,
        card: card?,
        credit_limit: credit_limit?,
    })
}

fn address(fields: &mut Fields<'_>) -> Option<Address> {
    let address_type = fields.required("type", text(address_type));
    let street = fields.required("street", text(Line::parse));
    let postal_code = fields.required("postalCode", text(Line::parse));
    let city = fields.required("city", text(Line::parse));
    let country = fields.required("country", text(Line::parse));
    Some(Address {
        address_type: address_type?,
        street: street?,
        postal_code: postal_code?,
        city: city?,
        country: country?,
    })
}

fn address_type(text: String) -> Result<AddressType, &'static str> {
    match text.as_str() {
        "billing" => Ok(AddressType::Billing),
        "shipping" => Ok(AddressType::Shipping),
        _ => Err("must be billing or shipping"),
    }
}

fn contact(fields: &mut Fields<'_>) -> Option<Contact> {
    let email = fields.required("email", text(Email::parse));
    let phone = fields.optional("phone", text(Phone::parse));
    Some(Contact { email: email?, phone: phone? })
}

fn card(fields: &mut Fields<'_>) -> Option<Card> {
    let token = fields.required("token", text(CardToken::parse));
    let brand = fields.required("brand", text(Line::parse));
    let last_four = fields.required("lastFour", text(LastFour::parse));
    let expiry = fields.required("expiry", text(Expiry::parse));
    Some(Card { token: token?, brand: brand?, last_four: last_four?, expiry: expiry? })
}

fn credit_limit(fields: &mut Fields<'_>) -> Option<CreditLimit> {
    let amount = fields.required("amount", number(Amount::parse));
    let currency = fields.required("currency", text(currency));
    Some(CreditLimit { amount: amount?, currency: currency? })
}
