//! Texts of messages that are checked when they are read, such as business ids.

/// The longest id, in characters.
pub const MAX_ID: usize = 64;

/// Checks an id: `[A-Za-z0-9_-]{1,64}`. An id becomes a token of a subject, so it must not contain characters with a
/// meaning in NATS (`.`, `*`, `>`, white space).
///
/// # Errors
///
/// The rule, which completes the sentence "the id …".
pub fn id(text: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=MAX_ID).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(());
    }
    Err("must be 1 to 64 characters, each of them a letter A-Z or a-z, a digit, '_' or '-'")
}

/// Declares types of texts, each with the function that checks it. A value is always valid: it is checked when it is made,
/// and when it is deserialised.
///
/// ```
/// use choreography::text;
///
/// choreography::texts! {
///     /// The id of a room.
///     RoomId: text::id;
///     /// A floor, such as `3`.
///     Floor: |text| if text.len() == 1 { Ok(()) } else { Err("must be one character") };
/// }
///
/// assert_eq!(RoomId::try_from("ROOM_1".to_owned()).unwrap().as_ref(), "ROOM_1");
/// assert!(RoomId::try_from("ROOM.1".to_owned()).is_err());
/// assert!(serde_json::from_str::<Floor>("\"12\"").is_err());
/// ```
#[macro_export]
macro_rules! texts {
    ($( $(#[$meta:meta])* $name:ident: $check:expr; )+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl ::std::convert::TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> ::std::result::Result<Self, &'static str> {
                let check: fn(&str) -> ::std::result::Result<(), &'static str> = $check;
                check(&text).map(|()| Self(text))
            }
        }

        impl ::std::convert::From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl ::std::convert::AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+ };
}
