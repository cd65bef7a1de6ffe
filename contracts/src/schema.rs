//! JSON Schemas of the types in messages, with every bound that a schema can express.
//!
//! Descriptions state the others: a total is the sum of its lines, and no text contains a card number.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::account::{CardToken, Email, Expiry, LastFour, Line, MAX_LINE, Phone};
use crate::id::MAX_ID_LENGTH;
use crate::identity::{ApiKeyId, Grants, KeyId, KeySet, OrganisationId, RoleName, SessionId, UserId};
use crate::money::{MAX_AMOUNT, MAX_QUANTITY};
use crate::order::{MAX_REASON, Reason};
use crate::{Amount, CustomerId, OrderId, ProductId, Quantity};

/// The schema of [`Currency`](crate::Currency), which is a type of another crate.
#[derive(Debug)]
pub struct CurrencyCode;

/// Implements schemas by hand for types that serialise as other types.
macro_rules! schemas {
    ($($type:ty = $name:literal { $($json:tt)+ })+) => {
        $(
            impl JsonSchema for $type {
                fn schema_name() -> Cow<'static, str> {
                    $name.into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({ $($json)+ })
                }
            }
        )+
    };
}

/// The schema of an id.
fn id(description: &str) -> Schema {
    json_schema!({
        "type": "string", "description": description, "minLength": 1, "maxLength": MAX_ID_LENGTH,
        "pattern": "^[A-Za-z0-9_-]+$"
    })
}

macro_rules! ids {
    ($($type:ty = $name:literal, $description:literal;)+) => {
        $(
            impl JsonSchema for $type {
                fn schema_name() -> Cow<'static, str> {
                    $name.into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    id($description)
                }
            }
        )+
    };
}

ids! {
    OrderId = "OrderId", "The id of an order, chosen by the client that places it.";
    CustomerId = "CustomerId", "The id of a customer.";
    ProductId = "ProductId", "The id of a product.";
    UserId = "UserId", "The id of a user: a person or a service account.";
    OrganisationId = "OrganisationId", "The id of an organisation.";
    SessionId = "SessionId", "The id of a session of a user.";
    ApiKeyId = "ApiKeyId", "The id of an API key; not the key.";
    RoleName = "RoleName", "The name of a role.";
    KeyId = "KeyId", "The id of a signing key.";
    KeySet = "KeySet", "The key of the messages about signing keys: always `keys`.";
}

schemas! {
    Amount = "Amount" {
        "type": "integer", "minimum": 0, "maximum": MAX_AMOUNT,
        "description": "An amount in minor units; the currency is a separate field: 1000 with EUR is 10.00 €."
    }
    Quantity = "Quantity" {
        "type": "integer", "minimum": 1, "maximum": MAX_QUANTITY, "description": "A number of units."
    }
    Reason = "Reason" {
        "type": "string", "maxLength": MAX_REASON,
        "description": "The customer's reason. Line breaks and tabs are the only control characters it may contain."
    }
    CurrencyCode = "Currency" { "type": "string", "pattern": "^[A-Z]{3}$", "description": "A currency of ISO 4217." }
    Line = "Line" {
        "type": "string", "minLength": 1, "maxLength": MAX_LINE, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
        "description": "One line of text. Never a card number."
    }
    Phone = "Phone" {
        "type": "string", "minLength": 3, "maxLength": 40, "pattern": "^\\+?[0-9 ./()-]+$",
        "description": "A telephone number of 3 to 15 digits."
    }
    Email = "Email" {
        "type": "string", "maxLength": MAX_LINE, "pattern": "^[^@\\s]+@[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)+$",
        "description": "An e-mail address."
    }
    CardToken = "CardToken" {
        "type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[A-Za-z0-9_.-]+$",
        "description": "The identifier of a card at the payment provider. Never its number."
    }
    LastFour = "LastFour" {
        "type": "string", "pattern": "^[0-9]{4}$", "description": "The last four digits of a card's number."
    }
    Expiry = "Expiry" {
        "type": "string", "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$", "description": "The last month in which a card is valid."
    }
    Grants = "Grants" {
        "type": "array", "items": {"type": "string", "pattern": "^[a-z]+:[a-z]+(:own)?$"},
        "description": "Permissions, such as orders:read; with :own for what belongs to the user. Unknown ones are ignored."
    }
}
