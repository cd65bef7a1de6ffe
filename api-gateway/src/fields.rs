//! The shop's values in requests: fields of bodies, and parameters.

use std::fmt::Display;

use choreography_http::form::{Reader, length, number, pattern, text, whole};
use choreography_http::parameter::{ID_PATTERN, Limit, Parameter};
use contracts::account::{Line, MAX_LINE};
use contracts::money::MAX_AMOUNT;
use contracts::query::{DEFAULT_PAGE, MAX_PAGE, OrderSort, OrderStatus, WaitsFor};
use contracts::{Amount, Currency};
use poem_openapi::registry::MetaSchema;
use time::Date;
use time::macros::format_description;

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

/// A value of a closed set, as a parameter.
pub(crate) trait Choice: Copy + Send + Sync + 'static {
    const ALL: &'static [Self];

    fn name(self) -> &'static str;
}

impl Choice for OrderStatus {
    const ALL: &'static [Self] =
        &[Self::Placed, Self::AwaitingStock, Self::Reserved, Self::Confirmed, Self::Cancelled];

    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl Choice for WaitsFor {
    const ALL: &'static [Self] = &WaitsFor::ALL;

    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl Choice for OrderSort {
    const ALL: &'static [Self] = &OrderSort::ALL;

    fn name(self) -> &'static str {
        self.as_str()
    }
}

/// One value of a closed set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OneOf<T>(pub(crate) T);

impl<T: Choice> Parameter for OneOf<T> {
    fn schema() -> MetaSchema {
        MetaSchema {
            enum_items: T::ALL.iter().map(|value| value.name().into()).collect(),
            ..MetaSchema::new("string")
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let value = T::ALL.iter().copied().find(|value| value.name() == text).map(Self);
        value.ok_or_else(|| {
            let names: Vec<_> = T::ALL.iter().map(|value| value.name()).collect();
            format!("must be one of {}", names.join(", "))
        })
    }
}

/// A day, such as `2026-11-27`.
#[derive(Debug, Clone)]
pub(crate) struct Day(pub(crate) String);

impl Parameter for Day {
    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "date")
    }

    fn parse(text: &str) -> Result<Self, String> {
        let day = Date::parse(text, format_description!("[year]-[month]-[day]"));
        day.map(|day| Self(day.to_string())).map_err(|_| "must be a day, such as 2026-11-27".to_owned())
    }
}
