//! Texts that must not be printed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The maximum length of a secret, in bytes.
pub const MAX_SECRET: usize = 1024;
/// The minimum length of a password, in characters.
pub const MIN_PASSWORD: usize = 12;
/// The maximum length of a password, in characters.
pub const MAX_PASSWORD: usize = 128;

/// The text is not usable as a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Too long.
    #[error("must be at most {MAX_SECRET} bytes")]
    TooLong,
    /// Too short or too long for a password.
    #[error("must be {MIN_PASSWORD} to {MAX_PASSWORD} characters")]
    PasswordLength,
}

/// A password, a refresh token, or an API key. Its debug output has no text, and it has no [`Display`](fmt::Display).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret(String);

impl Secret {
    /// Takes a text.
    ///
    /// # Errors
    ///
    /// [`InvalidSecret::TooLong`].
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidSecret> {
        let text = text.into();
        if text.len() <= MAX_SECRET { Ok(Self(text)) } else { Err(InvalidSecret::TooLong) }
    }

    /// Takes a text as a new password.
    ///
    /// # Errors
    ///
    /// [`InvalidSecret::PasswordLength`].
    pub fn new_password(text: impl Into<String>) -> Result<Self, InvalidSecret> {
        let text = text.into();
        let fits = (MIN_PASSWORD..=MAX_PASSWORD).contains(&text.chars().count());
        if fits { Ok(Self(text)) } else { Err(InvalidSecret::PasswordLength) }
    }

    /// Returns the text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl TryFrom<String> for Secret {
    type Error = InvalidSecret;
    fn try_from(text: String) -> Result<Self, InvalidSecret> {
        Self::parse(text)
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.0
    }
}
