//! Text entered by people: one line, of limited length, never with a card number.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::looks_like_a_card_number;

/// The maximum length of a line, in characters.
pub const MAX_LINE: usize = 200;

/// The text is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Empty, too long, or more than one line.
    #[error("must be one line of 1 to {MAX_LINE} characters")]
    NotALine,
    /// It contains a possible card number.
    #[error("must not contain a card number: give the token that the payment provider has issued for it")]
    CardNumber,
    /// Not an e-mail address.
    #[error("must be an e-mail address, such as name@example.org")]
    NotAnEmail,
    /// Not a telephone number.
    #[error("must be a telephone number of 3 to 15 digits, such as +49 30 123456")]
    NotAPhone,
}

/// One line of text, 1 to [`MAX_LINE`] characters, without control characters and without a card number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Line(String);

impl Line {
    /// Parses a line; surrounding white space is dropped.
    ///
    /// # Errors
    ///
    /// [`InvalidText`]; it never repeats the text, which may contain a card number.
    pub fn parse(text: impl AsRef<str>) -> Result<Self, InvalidText> {
        let text = text.as_ref().trim();
        if !(1..=MAX_LINE).contains(&text.chars().count()) || text.chars().any(char::is_control) {
            return Err(InvalidText::NotALine);
        }
        if looks_like_a_card_number(text) {
            return Err(InvalidText::CardNumber);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Line {
    type Error = InvalidText;
    fn try_from(text: String) -> Result<Self, InvalidText> {
        Self::parse(text)
    }
}

impl From<Line> for String {
    fn from(line: Line) -> Self {
        line.0
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A telephone number: 3 to 15 digits (ITU-T E.164), optionally with a leading `+` and with spaces, hyphens, dots,
/// slashes, or brackets in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Phone(String);

impl Phone {
    /// Parses a telephone number.
    ///
    /// # Errors
    ///
    /// [`InvalidText`].
    pub fn parse(text: impl AsRef<str>) -> Result<Self, InvalidText> {
        let text = text.as_ref().trim();
        let number = text.strip_prefix('+');
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let allowed = |byte: u8| byte.is_ascii_digit() || b" -./()".contains(&byte);
        if !(3..=15).contains(&digits) || text.len() > 40 || !number.unwrap_or(text).bytes().all(allowed) {
            return Err(InvalidText::NotAPhone);
        }
        // An international number may be as long as a card number, and have a correct check digit by chance.
        if number.is_none() && looks_like_a_card_number(text) {
            return Err(InvalidText::CardNumber);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Phone {
    type Error = InvalidText;
    fn try_from(text: String) -> Result<Self, InvalidText> {
        Self::parse(text)
    }
}

impl From<Phone> for String {
    fn from(phone: Phone) -> Self {
        phone.0
    }
}

/// An e-mail address: a local part, `@`, and a domain. Whether it exists is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(Line);

impl Email {
    /// Parses an address.
    ///
    /// # Errors
    ///
    /// [`InvalidText`].
    pub fn parse(text: impl AsRef<str>) -> Result<Self, InvalidText> {
        let line = Line::parse(text)?;
        let good = line.as_str().split_once('@').is_some_and(|(local, domain)| {
            let label = |label: &str| {
                !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"(),:;<>@[\\]".contains(&byte);
            !local.is_empty()
                && local.bytes().all(plain)
                && domain.split('.').count() > 1
                && domain.split('.').all(label)
        });
        if good { Ok(Self(line)) } else { Err(InvalidText::NotAnEmail) }
    }

    /// Returns the address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<String> for Email {
    type Error = InvalidText;
    fn try_from(text: String) -> Result<Self, InvalidText> {
        Self::parse(text)
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0.into()
    }
}
