//! The shop's values in requests: fields of bodies, and parameters.

use std::fmt::Display;

use choreography_http::form::{Reader, length, number, pattern, text, whole};
use choreography_http::parameter::{ID_PATTERN, Limit, Parameter};
use contracts::account::{Line, MAX_LINE};
use contracts::money::MAX_AMOUNT;
use contracts::query::{DEFAULT_PAGE, MAX_PAGE, OrderStatus};
use contracts::{Amount, Currency};
use poem_openapi::registry::MetaSchema;

/// How many items a page has at most.
pub(crate) type PageLimit = Limit<DEFAULT_PAGE, MAX_PAGE>;

/// Reads an id.
pub(crate) fn id<T, E: Display>(parse: impl FnOnce(String) -> Result<T, E>) -> impl Reader<T> {
    text(pattern(ID_PATTERN), parse)
}

/// Reads a text of one line.
pub(crate) fn line() -> impl Reader<Line> {
    text(length(1..=MAX_LINE), Line::parse)
}

/// Reads an amount in minor units.
pub(crate) fn amount() -> impl Reader<Amount> {
    number(whole(0..=MAX_AMOUNT.unsigned_abs()), Amount::parse)
}

/// Reads a currency code.
pub(crate) fn currency() -> impl Reader<Currency> {
    let parse = |code: String| Currency::from_code(&code).ok_or("must be a currency code of ISO 4217, such as EUR");
    text(pattern("^[A-Z]{3}$"), parse)
}

/// The status of orders, as a filter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusFilter(pub(crate) OrderStatus);

const STATUSES: [OrderStatus; 5] = [
    OrderStatus::Placed,
    OrderStatus::AwaitingStock,
    OrderStatus::Reserved,
    OrderStatus::Confirmed,
    OrderStatus::Cancelled,
];

impl Parameter for StatusFilter {
    fn schema() -> MetaSchema {
        MetaSchema {
            enum_items: STATUSES.map(|status| status.as_str().into()).to_vec(),
            ..MetaSchema::new("string")
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let status = STATUSES.into_iter().find(|status| status.as_str() == text).map(Self);
        status.ok_or_else(|| format!("must be one of {}", STATUSES.map(OrderStatus::as_str).join(", ")))
    }
}
