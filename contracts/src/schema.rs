//! JSON Schemas (draft 2020-12) of what is said, with every bound that a schema can express.
//!
//! What it cannot is said in words: that a total is the sum of its lines, and that no text holds the number of a card.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::account::{CardToken, Email, Expiry, LastFour, Line, MAX_LINE, Phone};
use crate::id::MAX_ID_LENGTH;
use crate::money::{MAX_AMOUNT, MAX_QUANTITY};
use crate::order::{MAX_REASON, Reason};
use crate::{Amount, CustomerId, OrderId, ProductId, Quantity};

/// Makes the schema of what is written of a type.
#[must_use]
pub fn of<T: JsonSchema>() -> Value {
    settings(SchemaSettings::draft2020_12()).into_generator().into_root_schema_for::<T>().to_value()
}

/// Returns settings for what is written, with descriptions for readers who have no code at hand.
pub(crate) fn settings(settings: SchemaSettings) -> SchemaSettings {
    settings.for_serialize().with_transform(RecursiveTransform(without_links))
}

fn without_links(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace("[`", "`").replace("`]", "`");
    }
}

/// The schema of [`Currency`](crate::Currency), which is another crate's.
#[derive(Debug)]
pub struct CurrencyCode;

/// Gives types the schemas of what they are written as.
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
    OrderId = "OrderId", "The id of an order, chosen by whoever places it.";
    CustomerId = "CustomerId", "The id of a customer.";
    ProductId = "ProductId", "The id of a product.";
}

schemas! {
    Amount = "Amount" {
        "type": "integer", "minimum": 0, "maximum": MAX_AMOUNT,
        "description": "Minor units of the currency that stands beside it: 1000 with EUR is 10.00 €."
    }
    Quantity = "Quantity" {
        "type": "integer", "minimum": 1, "maximum": MAX_QUANTITY, "description": "A number of units."
    }
    Reason = "Reason" {
        "type": "string", "maxLength": MAX_REASON,
        "description": "Why, in the customer's words. Line breaks and tabs are the only control characters it holds."
    }
    CurrencyCode = "Currency" { "type": "string", "pattern": "^[A-Z]{3}$", "description": "A currency of ISO 4217." }
    Line = "Line" {
        "type": "string", "minLength": 1, "maxLength": MAX_LINE, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
        "description": "One line of text. Never the number of a card."
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
        "description": "What the payment provider knows a card by. Never its number."
    }
    LastFour = "LastFour" {
        "type": "string", "pattern": "^[0-9]{4}$", "description": "The last four digits of a card's number."
    }
    Expiry = "Expiry" {
        "type": "string", "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$", "description": "The last month in which a card is good."
    }
}
