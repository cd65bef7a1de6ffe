//! The customer's reason for a cancellation: text of limited length.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The maximum length of a reason, in characters.
pub const MAX_REASON: usize = 500;

/// The text is not a valid reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be at most {MAX_REASON} characters and contain no control characters")]
pub struct InvalidReason;

/// A customer's reason: at most [`MAX_REASON`] characters, line breaks and tabs included.
///
/// Events repeat the text, and events must fit into their stream. So decoding a command limits the length, whatever
/// its producer checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reason(String);

impl Reason {
    /// Parses a reason.
    ///
    /// # Errors
    ///
    /// [`InvalidReason`] if the text is too long or contains control characters other than line breaks and tabs.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidReason> {
        let text = text.into();
        // Above all U+0000, which PostgreSQL does not store in text.
        let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        if text.chars().count() > MAX_REASON || text.chars().any(control) {
            return Err(InvalidReason);
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for Reason {
    type Error = InvalidReason;
    fn try_from(text: String) -> Result<Self, InvalidReason> {
        Self::parse(text)
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
