//! Ids: `[A-Za-z0-9_-]{1,64}`.
//!
//! An id becomes a token of a subject (`order.event.placed.ORDER_001`). So it must not contain characters with a
//! meaning in NATS (`.`, `*`, `>`, white space).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The maximum length of an id, in characters.
pub const MAX_ID_LENGTH: usize = 64;

/// The text is not a valid id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {MAX_ID_LENGTH} characters, each of them a letter A-Z or a-z, a digit, '_' or '-'")]
pub struct InvalidId;

fn check(text: &str) -> Result<(), InvalidId> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=MAX_ID_LENGTH).contains(&text.len()) && text.bytes().all(allowed) { Ok(()) } else { Err(InvalidId) }
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses an id.
            ///
            /// # Errors
            ///
            /// [`InvalidId`] if the text is not `[A-Za-z0-9_-]{1,64}`.
            pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// Returns the id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// The id of an order, chosen by the client that places it.
    OrderId
);
id!(
    /// The id of a customer.
    CustomerId
);
id!(
    /// The id of a product.
    ProductId
);
id!(
    /// The id of a user: a person or a service account.
    UserId
);
id!(
    /// The id of an organisation.
    OrganisationId
);
id!(
    /// The id of a session of a user: the family of its refresh tokens.
    SessionId
);
id!(
    /// The id of an API key; not the key.
    ApiKeyId
);
id!(
    /// The name of a role.
    RoleName
);
id!(
    /// The id of a signing key.
    KeyId
);
id!(
    /// The key of the messages about signing keys: always `keys`.
    KeySet
);
