//! Every message of the shop, who says it, and who hears it, as data.
//!
//! Put together from what is declared elsewhere: the closed sets of messages, [`producer`], and the consumers of
//! [`TOPOLOGY`]. Nothing is declared here.

use serde::Deserialize;

use crate::account::{AccountCommand, AccountEvent};
use crate::inventory::{InventoryCommand, InventoryEvent};
use crate::order::{OrderCommand, OrderEvent, OrderTimer};
use crate::payment::PaymentEvent;
use crate::topology::{TOPOLOGY, producer};

/// What is declared of one message.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// Whose context it belongs to, such as `order`.
    pub context: &'static str,
    /// `command`, `event`, or `timer`.
    pub kind: &'static str,
    /// What it is called there, such as `placed`.
    pub name: &'static str,
    /// Its type, such as `order.placed.v1`.
    pub message_type: &'static str,
    /// Its subject with `*` in the place of the key, such as `order.event.placed.*`.
    pub filter: &'static str,
    /// What it means, as written beside its declaration.
    pub description: &'static str,
    /// Makes the JSON Schema of its body.
    #[cfg(feature = "schemas")]
    pub schema: fn() -> serde_json::Value,
    /// Makes the JSON Schema of its body as a part of a document.
    #[cfg(feature = "schemas")]
    pub(crate) subschema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

impl Declared {
    /// Returns who says it; `None` where nobody may.
    #[must_use]
    pub fn producer(&self) -> Option<&'static str> {
        producer(self.context, self.kind)
    }
}

impl Declared {
    /// Returns what it means, as plain text: without the marks of links.
    #[must_use]
    pub fn meaning(&self) -> String {
        self.description.trim().replace("[`", "`").replace("`]", "`")
    }
}

/// A body of each type, as JSON: `{"order.placed.v1": {…}, …}`.
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

/// Returns what is declared of every message, commands first.
pub fn messages() -> impl Iterator<Item = &'static Declared> {
    SETS.into_iter().flatten()
}

/// Who listens to what, read from [`TOPOLOGY`].
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
    /// Where it is no topology.
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

    /// Returns the services that hear a message, by name.
    #[must_use]
    pub fn of(&self, message: &Declared) -> Vec<&str> {
        let consumes =
            |consumer: &&Consumer| consumer.filter_subjects.iter().any(|filter| covers(filter, message.filter));
        let mut services: Vec<&str> = self.consumers.iter().filter(consumes).map(|c| c.name.as_str()).collect();
        services.sort_unstable();
        services
    }
}

/// Returns whether a filter lets every subject of another one pass.
fn covers(filter: &str, other: &str) -> bool {
    let (mut filter, mut other) = (filter.split('.'), other.split('.'));
    loop {
        match (filter.next(), other.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            _ => return false,
        }
    }
}
