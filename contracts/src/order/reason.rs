//! The reason that a customer gives for a cancel: bounded text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most characters a reason may have.
pub const MAX_REASON: usize = 500;

/// Text that is not a reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be at most {MAX_REASON} characters and hold no control characters")]
pub struct InvalidReason;

/// A reason in the customer's words: at most [`MAX_REASON`] characters, line breaks and tabs included.
///
/// An event repeats the text, and an event must fit into its stream. So the length is bounded where the command is read,
/// whoever published it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reason(String);

impl Reason {
    /// Parses a reason.
    ///
    /// # Errors
    ///
    /// [`InvalidReason`] if the text is too long or holds control characters other than line breaks and tabs.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidReason> {
        let text = text.into();
        // U+0000 above all: PostgreSQL takes no text that holds it.
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
