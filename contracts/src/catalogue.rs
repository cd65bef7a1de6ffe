//! The catalogue: every message of the shop with its producer and its consumers, as data.
//!
//! Derived from other declarations: the closed sets of messages, [`producer`], and the consumers of [`TOPOLOGY`].

use serde::Deserialize;

use crate::account::{AccountCommand, AccountEvent};
use crate::inventory::{InventoryCommand, InventoryEvent};
use crate::order::{OrderCommand, OrderEvent, OrderTimer};
use crate::payment::PaymentEvent;
use crate::topology::{TOPOLOGY, producer};

/// The declaration of one message.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// The context, such as `order`.
    pub context: &'static str,
    /// `command`, `event`, or `timer`.
    pub kind: &'static str,
    /// The name within the context and kind, such as `placed`.
    pub name: &'static str,
    /// Its type, such as `order.placed.v1`.
    pub message_type: &'static str,
    /// The subject with `*` instead of the key, such as `order.event.placed.*`.
    pub filter: &'static str,
    /// The doc comment of its declaration.
    pub description: &'static str,
    /// Generates the JSON Schema of its body.
    #[cfg(feature = "schemas")]
    pub schema: fn() -> serde_json::Value,
    /// Generates the JSON Schema of its body as a part of a document.
    #[cfg(feature = "schemas")]
    pub(crate) subschema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

impl Declared {
    /// Returns the producer; `None` if no service may publish it.
    #[must_use]
    pub fn producer(&self) -> Option<&'static str> {
        producer(self.context, self.kind)
    }
}

impl Declared {
    /// Returns the description as plain text, without link markup.
    #[must_use]
    pub fn meaning(&self) -> String {
        self.description.trim().replace("[`", "`").replace("`]", "`")
    }
}

/// An example body per type, as JSON: `{"order.placed.v1": {…}, …}`.
pub const EXAMPLES: &str = include_str!("../examples.json");

/// Every message of the shop, commands first.
const SETS: [&[Declared]; 8] = [
    OrderCommand::DECLARED,
    InventoryCommand::DECLARED,
    AccountCommand::DECLARED,
    OrderEvent::DECLARED,
    InventoryEvent::DECLARED,
    PaymentEvent::DECLARED,
    AccountEvent::DECLARED,
    OrderTimer::DECLARED,
];

/// Returns the declarations of all messages, commands first.
pub fn messages() -> impl Iterator<Item = &'static Declared> {
    SETS.into_iter().flatten()
}

/// The consumers of all messages, read from [`TOPOLOGY`].
#[derive(Debug, Clone, Deserialize)]
pub struct Consumers {
    consumers: Vec<Consumer>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consumer {
    name: String,
    filter_subjects: Vec<String>,
}

impl Consumers {
    /// Reads the declaration.
    ///
    /// # Errors
    ///
    /// If it is not a valid topology.
    pub fn declared() -> Result<Self, serde_json::Error> {
        serde_json::from_str(TOPOLOGY)
    }

    /// Returns the services, by name.
    #[must_use]
    pub fn services(&self) -> Vec<&str> {
        let mut services: Vec<&str> = self.consumers.iter().map(|consumer| consumer.name.as_str()).collect();
        services.sort_unstable();
        services.dedup();
        services
    }

    /// Returns the services that consume a message, by name.
    #[must_use]
    pub fn of(&self, message: &Declared) -> Vec<&str> {
        let consumes =
            |consumer: &&Consumer| consumer.filter_subjects.iter().any(|filter| covers(filter, message.filter));
        let mut services: Vec<&str> = self.consumers.iter().filter(consumes).map(|c| c.name.as_str()).collect();
        services.sort_unstable();
        services
    }
}

/// Returns whether a filter matches every subject of another filter.
fn covers(filter: &str, other: &str) -> bool {
    let (mut filter, mut other) = (filter.split('.'), other.split('.'));
    loop {
        match (filter.next(), other.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(expected), Some(token)) if expected == "*" || expected == token => {}
            _ => return false,
        }
    }
}
