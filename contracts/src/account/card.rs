//! What is known of a card: never its number.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Line;

/// The most characters a token may have.
const MAX_TOKEN: usize = 100;

/// Text that is no token of a card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCardToken {
    /// The wrong characters, or too many.
    #[error("must be 1 to {MAX_TOKEN} characters, each of them a letter A-Z or a-z, a digit, '_', '-' or '.'")]
    Malformed,
    /// The number of a card.
    #[error("must not be a card number: give the token that the payment provider has issued for it")]
    CardNumber,
}

/// Text that is no month.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a month such as 2030-12")]
pub struct InvalidExpiry;

/// Text that is not the end of a card number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be the last four digits of the card")]
pub struct InvalidLastFour;

/// How a customer pays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Card {
    /// What the payment provider knows the card by.
    pub token: CardToken,
    /// The brand, for people.
    pub brand: Line,
    /// The end of its number, for people.
    pub last_four: LastFour,
    /// The last month in which it is good.
    pub expiry: Expiry,
}

/// Says whether a text holds what looks like the number of a card: 13 to 19 digits, perhaps with single spaces or
/// hyphens in between, whose check digit is right (ISO/IEC 7812-1, annex B).
#[must_use]
pub fn looks_like_a_card_number(text: &str) -> bool {
    let mut digits: Vec<u32> = Vec::new();
    let mut separated = false;
    // Something that is neither digit nor separator ends a run; one more stands behind the text.
    for c in text.chars().chain(['\0']) {
        match c.to_digit(10) {
            Some(digit) => {
                digits.push(digit);
                separated = false;
            }
            None if (c == ' ' || c == '-') && !separated && !digits.is_empty() => separated = true,
            None => {
                if holds_card_number(&digits) {
                    return true;
                }
                digits.clear();
                separated = false;
            }
        }
    }
    false
}

/// A run of digits may be longer than the number in it.
fn holds_card_number(digits: &[u32]) -> bool {
    (13..=19).any(|length| digits.windows(length).any(is_luhn))
}

fn is_luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    // Zeros alone are no card's number, though their check digit is right.
    sum > 0 && sum.is_multiple_of(10)
}

/// What the payment provider knows a card by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CardToken(String);

impl CardToken {
    /// Parses a token.
    ///
    /// # Errors
    ///
    /// [`InvalidCardToken`]; it never repeats the text.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidCardToken> {
        let text = text.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if looks_like_a_card_number(&text) {
            Err(InvalidCardToken::CardNumber)
        } else if (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(InvalidCardToken::Malformed)
        }
    }

    /// Returns the token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CardToken {
    type Error = InvalidCardToken;
    fn try_from(text: String) -> Result<Self, InvalidCardToken> {
        Self::parse(text)
    }
}

impl From<CardToken> for String {
    fn from(token: CardToken) -> Self {
        token.0
    }
}

/// The last four digits of a card's number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LastFour(String);

impl LastFour {
    /// Parses four digits.
    ///
    /// # Errors
    ///
    /// [`InvalidLastFour`]; it never repeats the text.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidLastFour> {
        let text = text.into();
        if text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text))
        } else {
            Err(InvalidLastFour)
        }
    }
}

impl TryFrom<String> for LastFour {
    type Error = InvalidLastFour;
    fn try_from(text: String) -> Result<Self, InvalidLastFour> {
        Self::parse(text)
    }
}

impl From<LastFour> for String {
    fn from(digits: LastFour) -> Self {
        digits.0
    }
}

/// The last month in which a card is good, `YYYY-MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expiry {
    year: u16,
    month: u8,
}

impl Expiry {
    /// Parses a month.
    ///
    /// # Errors
    ///
    /// [`InvalidExpiry`].
    pub fn parse(text: impl AsRef<str>) -> Result<Self, InvalidExpiry> {
        let digits =
            |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
        let (year, month) = text.as_ref().split_once('-').ok_or(InvalidExpiry)?;
        if !digits(year, 4) || !digits(month, 2) {
            return Err(InvalidExpiry);
        }
        let (year, month) = (year.parse().map_err(|_| InvalidExpiry)?, month.parse().map_err(|_| InvalidExpiry)?);
        if (1..=12).contains(&month) { Ok(Self { year, month }) } else { Err(InvalidExpiry) }
    }

    /// Says whether the card is still good in a month of a year.
    #[must_use]
    pub fn is_good_in(self, year: u16, month: u8) -> bool {
        (year, month) <= (self.year, self.month)
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl TryFrom<String> for Expiry {
    type Error = InvalidExpiry;
    fn try_from(text: String) -> Result<Self, InvalidExpiry> {
        Self::parse(text)
    }
}

impl From<Expiry> for String {
    fn from(expiry: Expiry) -> Self {
        expiry.to_string()
    }
}
