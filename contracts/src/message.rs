//! Closed, versioned sets of messages.
//!
//! Each context declares its commands and its events as one enum each with `messages!`. The declaration is the
//! only place where a message's type name and subject are written:
//!
//! | | |
//! |---|---|
//! | subject | `<context>.<kind>.<name>.<key>`, for example `order.event.placed.ORDER_001` |
//! | type (`ce-type`) | `<context>.<name>.v<version>`, for example `order.placed.v1` |
//! | body | the variant's struct as JSON in camelCase |

/// Why a message could not be decoded as one of a closed set.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The type is not part of the set.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
    /// The body does not match the type.
    #[error("{message_type} has a body that cannot be read: {source}")]
    Body {
        /// The type.
        message_type: &'static str,
        /// The error and its position.
        source: serde_json::Error,
    },
}

/// Declares a closed set of messages of one context and kind; see the [module](self).
macro_rules! messages {
    (
        $(#[$meta:meta])*
        pub enum $name:ident in $context:literal as $kind:literal {
            $( $(#[doc = $doc:literal])+ $variant:ident($body:ty) = $word:literal v $version:literal, key $key:ident; )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
        #[serde(untagged)]
        pub enum $name {
            $( $(#[doc = $doc])+ $variant($body), )+
        }

        impl $name {
            /// The types of the set, as in `ce-type`.
            pub const TYPES: &[&str] = &[$( concat!($context, ".", $word, ".v", $version) ),+];

            /// The declaration of each message of the set.
            pub const DECLARED: &[$crate::catalogue::Declared] = &[$(
                $crate::catalogue::Declared {
                    context: $context,
                    kind: $kind,
                    name: $word,
                    message_type: concat!($context, ".", $word, ".v", $version),
                    filter: concat!($context, ".", $kind, ".", $word, ".*"),
                    description: concat!($($doc),+),
                    #[cfg(feature = "schemas")]
                    schema: $crate::schema::of::<$body>,
                    #[cfg(feature = "schemas")]
                    subschema: |generator| generator.subschema_for::<$body>(),
                },
            )+];

            /// Returns the type of the message, as in `ce-type`.
            #[must_use]
            pub fn message_type(&self) -> &'static str {
                match self {
                    $( Self::$variant(_) => concat!($context, ".", $word, ".v", $version), )+
                }
            }

            /// Returns the business id of the message, which is the last token of its subject.
            #[must_use]
            pub fn key(&self) -> &str {
                match self {
                    $( Self::$variant(body) => body.$key.as_str(), )+
                }
            }

            /// Returns the subject the message is published on.
            #[must_use]
            pub fn subject(&self) -> String {
                let stem = match self {
                    $( Self::$variant(_) => concat!($context, ".", $kind, ".", $word, "."), )+
                };
                [stem, self.key()].concat()
            }

            /// Decodes a message of this set.
            ///
            /// # Errors
            ///
            /// [`DecodeError`](crate::DecodeError) if the type is not part of this set or the body does not match the
            /// type.
            pub fn decode(message_type: &str, body: &[u8]) -> Result<Self, $crate::DecodeError> {
                match message_type {
                    $(
                        concat!($context, ".", $word, ".v", $version) => serde_json::from_slice(body)
                            .map(Self::$variant)
                            .map_err(|source| $crate::DecodeError::Body {
                                message_type: concat!($context, ".", $word, ".v", $version),
                                source,
                            }),
                    )+
                    other => Err($crate::DecodeError::UnknownType(other.to_owned())),
                }
            }
        }

        $(
            impl From<$body> for $name {
                fn from(body: $body) -> Self {
                    Self::$variant(body)
                }
            }
        )+
    };
}

pub(crate) use messages;
