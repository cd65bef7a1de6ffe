//! The shop's own problems: their codes, wording, and additional members.

use choreography_http::code::Code;
use choreography_http::problem::{Problem, Vocabulary};
use contracts::account::looks_like_a_card_number;
use poem::http::{StatusCode, header};
use poem_openapi::registry::MetaSchema;

macro_rules! codes {
    ($( $name:ident = $text:literal, $status:ident, $title:literal, $meaning:literal; )+) => {
        $(
            #[doc = $meaning]
            pub(crate) const $name: Code = Code::new($text, StatusCode::$status, $title, $meaning);
        )+

        /// The shop's codes.
        const CODES: &[Code] = &[$( $name ),+];
    };
}

codes! {
    ORDER_NOT_FOUND = "order-not-found", NOT_FOUND, "No such order",
        "The order does not exist, or its command has not been processed yet.";
    PRODUCT_NOT_FOUND = "product-not-found", NOT_FOUND, "No such product",
        "The product does not exist, or its first restock has not been processed yet.";
    ACCOUNT_NOT_FOUND = "account-not-found", NOT_FOUND, "No such account",
        "The customer has no account, or the command that creates it has not been processed yet.";
    PAYMENT_NOT_FOUND = "payment-not-found", NOT_FOUND, "No such payment",
        "The order does not exist, or the payment service has not processed its event yet.";
    CUSTOMER_HAS_NO_ORDERS = "customer-has-no-orders", NOT_FOUND, "No orders",
        "The customer has placed no order, or the read model does not contain it yet.";
    MESSAGE_NOT_FOUND = "message-not-found", NOT_FOUND, "No such message",
        "The stream has no message of this order with this sequence, or no longer has it.";
    DEAD_LETTER_NOT_FOUND = "dead-letter-not-found", NOT_FOUND, "No such dead letter",
        "No dead letter has this sequence, or it no longer exists.";
    PROJECTION_NOT_FOUND = "projection-not-found", NOT_FOUND, "No such projection",
        "No service has a projection of this name and version.";
    PROJECTION_NOT_CHANGED = "projection-not-changed", CONFLICT, "Projection not changed",
        "The state of the projection does not allow the change; nothing changed.";
    ORDER_ALREADY_CONFIRMED = "order-already-confirmed", CONFLICT, "Order already confirmed",
        "The order is confirmed, which is final; it can no longer be cancelled.";
    ACCOUNT_ALREADY_EXISTS = "account-already-exists", CONFLICT, "Account already exists",
        "The customer has an account with other content; nothing changed. Change it with `PUT`.";
    ACCOUNT_HAS_CHANGED = "account-has-changed", PRECONDITION_FAILED, "Account has changed",
        "The account does not have the version in `If-Match`; nothing changed. `version` and the header `ETag` are \
         its current version. Read the account, and make the change again.";
    ORDER_ID_ALREADY_USED = "order-id-already-used", UNPROCESSABLE_ENTITY, "Order id already used",
        "The id belongs to an order with other content; nothing changed.";
    PRECONDITION_REQUIRED = "precondition-required", PRECONDITION_REQUIRED, "Precondition required",
        "A change must have `If-Match` with the `ETag` of the account that the client read.";
    UNAVAILABLE = "unavailable", SERVICE_UNAVAILABLE, "Temporarily unavailable",
        "A component of the shop is unavailable. Send the same request again after `Retry-After` seconds: a command \
         is not processed twice if its request has an order id or has an `Idempotency-Key`.";
    OVERLOADED = "overloaded", SERVICE_UNAVAILABLE, "Overloaded",
        "The shop has no capacity for more commands. Nothing of this request was stored; send it again after \
         `Retry-After` seconds.";
}

/// The name of the member with the account's current version.
const VERSION: &str = "version";

/// The shop's problems.
pub(crate) const VOCABULARY: Vocabulary =
    Vocabulary { codes: CODES, members: &[(VERSION, version_schema)], mask: masked };

fn version_schema() -> MetaSchema {
    let description = Some("With `account-has-changed`: the account's current version.");
    MetaSchema { description, ..MetaSchema::new_with_format("integer", "int64") }
}

/// Masks text that looks like a card number, also in the name of a field: clients may log responses.
fn masked(text: String) -> String {
    if looks_like_a_card_number(&text) {
        text.chars().map(|c| if c.is_numeric() { '*' } else { c }).collect()
    } else {
        text
    }
}

/// Creates the problem for a change to an outdated version of an account.
pub(crate) fn account_has_changed(version: i64) -> Problem {
    Problem::with_detail(ACCOUNT_HAS_CHANGED, format!("The account has version {version} now."))
        .member(VERSION, version)
        .header(header::ETAG, format!("\"{version}\""))
}
