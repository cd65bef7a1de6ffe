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
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
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

/// The most separators in a row that stand between the digits of one number.
const MAX_SEPARATORS: usize = 3;

/// Says whether a text holds what looks like the number of a card: 13 to 19 digits, the first of them no zero, whose
/// check digit is right (ISO/IEC 7812-1, annex B), perhaps with spaces, hyphens, or other characters that are no
/// letters in between. More digits may stand beside it, but not without something in between.
///
/// One in ten of other numbers of that length looks so by chance. A UUID never does.
#[must_use]
pub fn looks_like_a_card_number(text: &str) -> bool {
    if is_uuid(text) {
        return false;
    }
    let mut run = Run::default();
    // A letter ends a run; one more stands behind the text.
    text.chars().chain(['x']).any(|c| match digit(c) {
        Some(digit) => {
            run.push(digit);
            false
        }
        None if !c.is_alphanumeric() && run.separators < MAX_SEPARATORS => {
            run.separators += 1;
            false
        }
        None => std::mem::take(&mut run).holds_card_number(),
    })
}

/// Digits that no letter parts.
#[derive(Default)]
struct Run {
    digits: Vec<u32>,
    /// Where groups of digits begin, with separators ahead of them.
    groups: Vec<usize>,
    /// How many separators there have been since the last digit.
    separators: usize,
}

impl Run {
    fn push(&mut self, digit: u32) {
        if self.separators > 0 || self.digits.is_empty() {
            self.groups.push(self.digits.len());
        }
        self.digits.push(digit);
        self.separators = 0;
    }

    fn holds_card_number(&self) -> bool {
        self.groups.iter().enumerate().any(|(group, &begin)| {
            // Each group has a digit, so no more than 19 of them make a number.
            let ends = self.groups.iter().copied().chain([self.digits.len()]).skip(group + 1).take(19);
            ends.filter_map(|end| self.digits.get(begin..end))
                .any(|digits| (13..=19).contains(&digits.len()) && digits.first() != Some(&0) && is_luhn(digits))
        })
    }
}

fn is_uuid(text: &str) -> bool {
    let groups = text.split('-').map(|group| (group.len(), group.bytes().all(|byte| byte.is_ascii_hexdigit())));
    groups.eq([8, 4, 4, 4, 12].map(|length| (length, true)))
}

/// Reads a digit, also one of the wide ones that East Asian keyboards write.
fn digit(c: char) -> Option<u32> {
    c.to_digit(10).or_else(|| u32::from(c).checked_sub(u32::from('\u{ff10}')).filter(|digit| *digit < 10))
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
    sum.is_multiple_of(10)
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
