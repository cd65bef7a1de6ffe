//! The data of a card, never its number.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Line;

/// The maximum length of a token, in characters.
const MAX_TOKEN: usize = 100;

/// The text is not a valid card token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCardToken {
    /// Characters that are not allowed, or too many.
    #[error("must be 1 to {MAX_TOKEN} characters, each of them a letter A-Z or a-z, a digit, '_', '-' or '.'")]
    Malformed,
    /// It is a card number.
    #[error("must not be a card number: give the token that the payment provider has issued for it")]
    CardNumber,
}

/// The text is not a valid month.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a month such as 2030-12")]
pub struct InvalidExpiry;

/// The text is not four digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be the last four digits of the card")]
pub struct InvalidLastFour;

/// The card that a customer pays with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Card {
    /// The identifier of the card at the payment provider.
    pub token: CardToken,
    /// The brand, for display.
    pub brand: Line,
    /// The end of the number, for display.
    pub last_four: LastFour,
    /// The last month in which it is valid.
    pub expiry: Expiry,
}

/// The maximum number of consecutive separators between the digits of one number.
const MAX_SEPARATORS: usize = 3;

/// Returns whether a text contains a possible card number: 13 to 19 digits, the first of them not zero, with a
/// correct check digit (ISO/IEC 7812-1, annex B). Spaces, hyphens, or other characters except letters may separate
/// the digits. A separator must divide the number from other digits.
///
/// One in ten other numbers of that length matches by chance. A UUID never matches.
#[must_use]
pub fn looks_like_a_card_number(text: &str) -> bool {
    if is_uuid(text) {
        return false;
    }
    let mut run = Run::default();
    // A letter ends a run; the last run is ended by one after the text.
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

/// Digits without a letter between them.
#[derive(Default)]
struct Run {
    digits: Vec<u32>,
    /// The first digits of the groups, each after separators.
    groups: Vec<usize>,
    /// The number of separators since the last digit.
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
            // Each group has at least one digit, so a number spans at most 19 groups.
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

/// Reads a digit, including the full-width ones of East Asian keyboards.
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

/// The identifier of a card at the payment provider.
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

/// The last month in which a card is valid, `YYYY-MM`.
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

    /// Returns whether the card is still valid in a month.
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
