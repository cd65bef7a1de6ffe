//! Helpers for the code that the derive macros expand to. No part of the public API.

pub use serde::{Serialize, Serializer};

#[cfg(feature = "schemas")]
pub use super::schema::{Probe, WithoutSchema};
use super::{DecodeError, MessageInfo, Messages};
pub use crate::__message_schema as schema;

/// Returns whether a set holds a type of message, in any version.
#[must_use]
pub fn holds<M: Messages>(message_type: &str) -> bool {
    M::MESSAGES.iter().flat_map(MessageInfo::versions).any(|info| info.message_type == message_type)
}

/// Returns whether a message is an older version of another.
#[must_use]
pub const fn precedes(older: &MessageInfo, newer: &MessageInfo) -> bool {
    older.version < newer.version
        && older.kind as u8 == newer.kind as u8
        && same(older.context, newer.context)
        && same(older.name, newer.name)
}

/// Returns the error for a type that is not of a set.
#[must_use]
pub fn unknown(message_type: &str) -> DecodeError {
    DecodeError::UnknownType(message_type.to_owned())
}

/// Returns how many messages some sets hold.
#[must_use]
pub const fn count(sets: &[&[MessageInfo]]) -> usize {
    let (mut count, mut set) = (0, 0);
    while set < sets.len() {
        count += sets[set].len();
        set += 1;
    }
    count
}

/// Makes one set of several, which hold [`count`] messages.
#[must_use]
pub const fn concat<const COUNT: usize>(sets: &[&[MessageInfo]]) -> [MessageInfo; COUNT] {
    let mut all = [sets[0][0]; COUNT];
    let (mut next, mut set) = (0, 0);
    while set < sets.len() {
        let mut message = 0;
        while message < sets[set].len() {
            all[next] = sets[set][message];
            next += 1;
            message += 1;
        }
        set += 1;
    }
    all
}

/// Returns whether each type is in a set once.
#[must_use]
pub const fn distinct(messages: &[MessageInfo]) -> bool {
    let mut first = 0;
    while first < messages.len() {
        let mut second = first + 1;
        while second < messages.len() {
            if same(messages[first].message_type, messages[second].message_type) {
                return false;
            }
            second += 1;
        }
        first += 1;
    }
    true
}

/// `==` of texts, which is not `const`.
const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Declares the schema of a message, if its body has one.
#[cfg(feature = "schemas")]
#[doc(hidden)]
#[macro_export]
macro_rules! __message_schema {
    ($body:ty) => {
        const SCHEMA: ::core::option::Option<$crate::message::MessageSchema> = {
            use $crate::__private::WithoutSchema as _;
            $crate::__private::Probe::<$body>::SCHEMA
        };
    };
}

/// Declares nothing: schemas are turned off.
#[cfg(not(feature = "schemas"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __message_schema {
    ($body:ty) => {};
}
