//! The catalogue: every message of the shop with its producer and its consumers, as data.
//!
//! Derived from other declarations: the closed sets of messages, and the consumers of [`TOPOLOGY`].

use choreography::topology::subject_matches;
use choreography::{MessageInfo, Messages};
use serde::Deserialize;

use crate::account::{AccountCommand, AccountEvent};
use crate::inventory::{InventoryCommand, InventoryEvent};
use crate::order::{OrderCommand, OrderEvent, OrderTimer};
use crate::payment::PaymentEvent;
use crate::topology::TOPOLOGY;

/// An example body per type, as JSON: `{"order.placed.v1": {…}, …}`.
pub const EXAMPLES: &str = include_str!("../examples.json");

/// Every message of the shop, commands first.
const SETS: [&[MessageInfo]; 8] = [
    OrderCommand::MESSAGES,
    InventoryCommand::MESSAGES,
    AccountCommand::MESSAGES,
    OrderEvent::MESSAGES,
    InventoryEvent::MESSAGES,
    PaymentEvent::MESSAGES,
    AccountEvent::MESSAGES,
    OrderTimer::MESSAGES,
];

/// Returns the declarations of all messages, commands first.
pub fn messages() -> impl Iterator<Item = &'static MessageInfo> {
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
    pub fn of(&self, message: &MessageInfo) -> Vec<&str> {
        let consumes = |consumer: &&Consumer| {
            consumer.filter_subjects.iter().any(|filter| subject_matches(filter, message.filter))
        };
        let mut services: Vec<&str> = self.consumers.iter().filter(consumes).map(|c| c.name.as_str()).collect();
        services.sort_unstable();
        services
    }
}
