//! Why messages become dead letters.

/// Why a message became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It cannot be decoded.
    Undecodable,
    /// Its version was newer than those that the service knew, for as long as the service retries such a message.
    UnknownVersion,
    /// Its source is not the producer of its subject.
    SourceMismatch,
    /// The handler rejected it: it can never succeed.
    Rejected,
    /// It failed in the maximum number of attempts.
    MaxAttemptsExceeded,
    /// A stream restore republished it, and it is older than the inbox remembers: it may have been handled.
    DedupWindowExpired,
    /// Its stream can never store it, so it was never delivered. A redrive makes its producer publish it again.
    Unpublishable,
}

impl Reason {
    pub(crate) const ALL: [Self; 7] = [
        Self::Undecodable,
        Self::UnknownVersion,
        Self::SourceMismatch,
        Self::Rejected,
        Self::MaxAttemptsExceeded,
        Self::DedupWindowExpired,
        Self::Unpublishable,
    ];

    /// Parses the text form.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Returns the text form, used in headers and subjects.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::UnknownVersion => "unknown-version",
            Self::SourceMismatch => "source-mismatch",
            Self::Rejected => "rejected",
            Self::MaxAttemptsExceeded => "max-attempts-exceeded",
            Self::DedupWindowExpired => "dedup-window-expired",
            Self::Unpublishable => "unpublishable",
        }
    }
}
