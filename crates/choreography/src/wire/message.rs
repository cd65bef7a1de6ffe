//! Messages as types: each is declared once, and everything that must agree follows from the declaration.
//!
//! A message is a struct. A service consumes a closed set of messages, an enum:
//!
//! ```
//! use choreography::{Command, Event, Message, Messages, Publish};
//! use serde::{Deserialize, Serialize};
//!
//! /// The order exists.
//! #[derive(Debug, Serialize, Deserialize, Event)]
//! #[message(context = "order", name = "placed", version = 1, key = order_id, producer = "order-service")]
//! pub struct OrderPlaced {
//!     pub order_id: String,
//!     pub quantity: u32,
//! }
//!
//! /// Add units of a product to the stock.
//! #[derive(Debug, Serialize, Deserialize, Command)]
//! #[message(context = "inventory", name = "restock", version = 1, key = product_id, producer = "api-gateway")]
//! pub struct Restock {
//!     pub product_id: String,
//!     pub quantity: u32,
//! }
//!
//! /// The messages that the inventory service consumes.
//! #[derive(Debug, Messages)]
//! pub enum InventoryMessage {
//!     Placed(OrderPlaced),
//!     Restock(Restock),
//! }
//!
//! # fn main() -> Result<(), choreography::DecodeError> {
//! assert_eq!(OrderPlaced::TYPE, "order.placed.v1");
//! assert_eq!(OrderPlaced::FILTER, "order.event.placed.*");
//!
//! let message = InventoryMessage::decode("order.placed.v1", br#"{"order_id": "ORDER_001", "quantity": 2}"#)?;
//! assert!(matches!(&message, InventoryMessage::Placed(order) if order.quantity == 2));
//! assert_eq!(message.subject(), "order.event.placed.ORDER_001");
//! # Ok(())
//! # }
//! ```
//!
//! | | |
//! |---|---|
//! | subject | `<context>.<kind>.<name>.<key>`, for example `order.event.placed.ORDER_001` |
//! | type (`ce-type`) | `<context>.<name>.v<version>`, for example `order.placed.v1` |
//! | body | the struct as JSON |
//!
//! # Versions
//!
//! An incompatible change of a body is a new version. The old struct stays, and the new one is made of it: so consumers
//! and event stores read every version ever published, and handlers see only the newest.
//!
//! ```
//! use choreography::{Event, Messages};
//! use serde::{Deserialize, Serialize};
//!
//! mod v1 {
//!     # use choreography::Event;
//!     # use serde::{Deserialize, Serialize};
//!     #[derive(Serialize, Deserialize, Event)]
//!     #[message(context = "order", name = "placed", version = 1, key = order_id, producer = "order-service")]
//!     pub struct OrderPlaced {
//!         pub order_id: String,
//!         pub total: u32,
//!     }
//! }
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
//! #[message(context = "order", name = "placed", version = 2, key = order_id, producer = "order-service", upcast = v1::OrderPlaced)]
//! pub struct OrderPlaced {
//!     pub order_id: String,
//!     pub total: u32,
//!     pub currency: String,
//! }
//!
//! impl From<v1::OrderPlaced> for OrderPlaced {
//!     fn from(old: v1::OrderPlaced) -> Self {
//!         Self { order_id: old.order_id, total: old.total, currency: "EUR".to_owned() }
//!     }
//! }
//!
//! # fn main() -> Result<(), choreography::DecodeError> {
//! let placed = OrderPlaced::decode("order.placed.v1", br#"{"order_id": "ORDER_001", "total": 2}"#)?;
//! assert_eq!(placed.currency, "EUR");
//! # Ok(())
//! # }
//! ```
//!
//! A message of a version newer than the consumer's waits for an instance that knows it:
//! [`Policies::unknown_version_timeout`](crate::Policies::unknown_version_timeout).
//!
//! With the feature `schemas`, a message whose struct implements `JsonSchema` has the schema of its body in its
//! [`MessageInfo`].

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[doc(hidden)]
pub mod private;
#[cfg(feature = "schemas")]
pub(crate) mod schema;

pub use choreography_derive::{Command, Event, Messages, Timer};
#[cfg(feature = "schemas")]
pub use schema::MessageSchema;

/// The kind of a message, the second token of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A request to a context to do something; the context may refuse.
    Command,
    /// A fact that a context publishes.
    Event,
    /// A deadline that a context has scheduled for itself.
    Timer,
}

impl Kind {
    /// Returns the token in subjects: `command`, `event`, or `timer`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Event => "event",
            Self::Timer => "timer",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The declaration of one type of message, as data.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct MessageInfo {
    /// The bounded context, such as `order`.
    pub context: &'static str,
    /// Command, event, or timer.
    pub kind: Kind,
    /// The name within the context, such as `placed`.
    pub name: &'static str,
    /// The version of the body, from 1.
    pub version: u32,
    /// The type, such as `order.placed.v1`.
    pub message_type: &'static str,
    /// The subject with `*` in place of the key, such as `order.event.placed.*`.
    pub filter: &'static str,
    /// The service that may publish it, such as `order-service`.
    pub producer: &'static str,
    /// The first paragraph of its doc comment, as one line.
    pub description: &'static str,
    /// The version before this one, if consumers of this one read it, too.
    pub previous: Option<&'static Self>,
    /// The JSON Schema of its body; none if the body does not implement `JsonSchema`.
    #[cfg(feature = "schemas")]
    pub schema: Option<MessageSchema>,
}

impl MessageInfo {
    const fn of<M: Message>() -> Self {
        Self {
            context: M::CONTEXT,
            kind: M::KIND,
            name: M::NAME,
            version: M::VERSION,
            message_type: M::TYPE,
            filter: M::FILTER,
            producer: M::PRODUCER,
            description: M::DESCRIPTION,
            previous: M::PREVIOUS,
            #[cfg(feature = "schemas")]
            schema: M::SCHEMA,
        }
    }

    /// Returns every version that its consumers read, the newest first.
    pub fn versions(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |info| info.previous)
    }

    /// Returns whether a type is a later version of this message.
    fn is_older_than(&self, message_type: &str) -> bool {
        let version = message_type
            .strip_prefix(self.context)
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.strip_prefix(self.name))
            .and_then(|rest| rest.strip_prefix(".v"));
        version.and_then(|version| version.parse::<u32>().ok()).is_some_and(|version| version > self.version)
    }

    /// Returns the subject of a message with a key.
    #[must_use]
    pub fn subject(&self, key: &str) -> String {
        [self.filter.trim_end_matches('*'), key].concat()
    }
}

/// A value that can be published: a [`Message`], or one of a set of [`Messages`]. Serializes to the body.
pub trait Publish: Serialize {
    /// Returns the declaration of the message.
    fn info(&self) -> &'static MessageInfo;

    /// Returns the business id that the message is about, the last token of its subject.
    fn key(&self) -> &str;

    /// Returns the type of the message, such as `order.placed.v1`.
    fn message_type(&self) -> &'static str {
        self.info().message_type
    }

    /// Returns the subject of the message, such as `order.event.placed.ORDER_001`.
    fn subject(&self) -> String {
        self.info().subject(self.key())
    }
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    note = "derive `Command`, `Event`, or `Timer` for it, and add `#[message(…)]`"
)]
/// One type of message; derive [`Command`], [`Event`], or [`Timer`].
pub trait Message: Publish + DeserializeOwned {
    /// The bounded context, such as `order`.
    const CONTEXT: &'static str;
    /// Command, event, or timer.
    const KIND: Kind;
    /// The name within the context, such as `placed`.
    const NAME: &'static str;
    /// The version of the body, from 1.
    const VERSION: u32;
    /// The type, such as `order.placed.v1`.
    const TYPE: &'static str;
    /// The subject with `*` in place of the key, such as `order.event.placed.*`.
    const FILTER: &'static str;
    /// The service that may publish it, such as `order-service`.
    const PRODUCER: &'static str;
    /// The first paragraph of its doc comment, as one line.
    const DESCRIPTION: &'static str;
    /// The version before this one, if this one can be made of it.
    const PREVIOUS: Option<&'static MessageInfo> = None;
    /// The JSON Schema of its body.
    #[cfg(feature = "schemas")]
    const SCHEMA: Option<MessageSchema> = None;
    /// The declaration as data.
    const INFO: MessageInfo = MessageInfo::of::<Self>();

    /// Decodes an older version, and makes this one of it.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: the type is not an older version, or the body does not match it.
    fn upcast(message_type: &str, _body: &[u8]) -> Result<Self, DecodeError> {
        Err(DecodeError::UnknownType(message_type.to_owned()))
    }
}

/// A command: a request to a context to do something.
pub trait Command: Message {}

/// An event: a fact that a context publishes.
pub trait Event: Message {}

/// A timer: a deadline that a context schedules for itself.
pub trait Timer: Message {
    /// Returns the subject that holds the timer until it is due, such as `order.schedule.stock-deadline.ORDER_001`.
    fn schedule_subject(&self) -> String {
        format!("{}.schedule.{}.{}", Self::CONTEXT, Self::NAME, self.key())
    }
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of messages",
    note = "derive `Messages` on an enum with one variant per message, or `Command`, `Event`, or `Timer` on a message"
)]
/// A closed set of messages, such as those that a service consumes. Derive it on an enum; each [`Message`] is a set of
/// one.
pub trait Messages: Sized {
    /// The declarations of the messages in the set.
    const MESSAGES: &'static [MessageInfo];

    /// Decodes a message by its type.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]. Such a message becomes a dead letter, with the text of the error as its detail.
    fn decode(message_type: &str, body: &[u8]) -> Result<Self, DecodeError>;
}

impl<M: Message> Messages for M {
    const MESSAGES: &'static [MessageInfo] = &[M::INFO];

    fn decode(message_type: &str, body: &[u8]) -> Result<Self, DecodeError> {
        if message_type != M::TYPE {
            return M::upcast(message_type, body);
        }
        serde_json::from_slice(body).map_err(|source| DecodeError::Body { message_type: M::TYPE, source })
    }
}

/// A message, or an event of a history, of a version that is newer than those that this instance knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message_type} is newer than v{newest}, the newest version that this instance knows")]
#[non_exhaustive]
pub struct UnknownVersion {
    /// Its type.
    pub message_type: String,
    /// The newest version that this instance knows.
    pub newest: u32,
}

impl UnknownVersion {
    /// Returns the error for a type that is a later version of one of the messages; otherwise `None`.
    pub(crate) fn of<M: Messages>(message_type: &str) -> Option<Self> {
        let older = M::MESSAGES.iter().filter(|info| info.is_older_than(message_type));
        let newest = older.map(|info| info.version).max()?;
        Some(Self { message_type: message_type.to_owned(), newest })
    }
}

/// Why a message could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The set has no message of this type.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
    /// The body does not match the type.
    #[error("{message_type} has a body that cannot be read: {source}")]
    Body {
        /// The type of the message.
        message_type: &'static str,
        /// The error and its position.
        source: serde_json::Error,
    },
}
