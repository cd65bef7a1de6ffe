//! What is known of a run at its end, as plain data: what customers saw, what streams and databases hold, and what the
//! payment provider did. The checks read nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::history::Exchange;

/// The token of another client's captures under the keys of this shop, as the provider's ledger has them.
pub const OTHER_CLIENT: &str = "tok_other_client";

/// Everything that is known of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Recorded {
    /// What customers asked, and what they were told.
    pub exchanges: Vec<Exchange>,
    /// The messages of COMMANDS, EVENTS, and TIMERS, by stream and sequence.
    pub messages: Vec<Stored>,
    /// The number of messages per stream that were discarded before the campaign had copied them.
    pub missed: BTreeMap<String, u64>,
    /// The messages of `DEAD_LETTERS`.
    pub dead_letters: Vec<Stored>,
    /// The orders, as the gateway shows them, by id.
    pub orders: BTreeMap<String, Value>,
    /// The products, as the gateway shows them, by id.
    pub products: BTreeMap<String, Stock>,
    /// The accounts, as the gateway shows them, by customer.
    pub accounts: BTreeMap<String, Value>,
    /// What customers were told.
    pub notifications: Vec<Notification>,
    /// The events that order-service keeps.
    pub history: Vec<Kept>,
    /// The reservations that inventory-service keeps, by order.
    pub reservations: BTreeMap<String, Reservation>,
    /// The payments that payment-service keeps, by order.
    pub payments: BTreeMap<String, Payment>,
    /// What counts against limits, by customer and currency, as payment-service keeps it.
    pub exposures: Vec<Exposure>,
    /// What the payment provider did, in order.
    pub ledger: Vec<Value>,
    /// The orders whose payments needed a person at the end.
    pub alarms: BTreeSet<String>,
    /// What is not published, by service.
    pub outbox_pending: BTreeMap<String, u64>,
    /// What is not delivered or not settled, by consumer.
    pub unsettled: BTreeMap<String, u64>,
    /// Processes that ended without being told to.
    pub ended: Vec<Ended>,
    /// Members that were not ready long after everything was healed, and why.
    pub unready: Vec<String>,
    /// The answer of `GET /invariants` at the end.
    pub invariants: Value,
    /// How much of a core each process needs when nothing is left to do, in percent.
    pub idle_cpu: BTreeMap<String, f64>,
    /// How many lines each component wrote.
    pub log_lines: BTreeMap<String, u64>,
    /// How long the run was, in seconds.
    pub seconds: u64,
    /// Lines of output with a password in them.
    pub leaks: Vec<String>,
    /// How each process ended when it was asked to (SIGTERM).
    pub exits: BTreeMap<String, String>,
}

/// A message as a stream holds it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stored {
    /// In which stream.
    pub stream: String,
    /// Where in it.
    pub sequence: u64,
    /// On which subject.
    pub subject: String,
    /// With which headers.
    pub headers: BTreeMap<String, String>,
    /// With which body.
    pub body: Value,
}

impl Stored {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.header("ce-id")
    }

    /// Returns its type without the version, such as `order.placed`.
    #[must_use]
    pub fn kind(&self) -> &str {
        let kind = self.header("ce-type");
        kind.rsplit_once(".v").map_or(kind, |(name, _)| name)
    }

    /// Returns its context, such as `order`.
    #[must_use]
    pub fn context(&self) -> &str {
        self.subject.split('.').next().unwrap_or_default()
    }

    /// Returns the business id it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        self.header("ce-subject")
    }

    /// Returns the id of the message it answers; empty where there is none.
    #[must_use]
    pub fn cause(&self) -> &str {
        self.header("ce-causationid")
    }

    /// Returns the id of the message that began the flow.
    #[must_use]
    pub fn correlation(&self) -> &str {
        self.header("ce-correlationid")
    }

    /// Returns the version of the aggregate that it made.
    #[must_use]
    pub fn version(&self) -> Option<i64> {
        self.header("ce-aggregateversion").parse().ok()
    }
}

/// The stock of a product, in units.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stock {
    /// On the shelf.
    pub available: u64,
    /// Held for orders.
    pub reserved: u64,
    /// Asked for by orders that wait.
    pub backordered: u64,
}

/// What a customer was told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Notification {
    /// The event it tells of.
    pub event_id: String,
    /// Who was told.
    pub customer_id: String,
    /// Of which order.
    pub order_id: String,
}

/// An event as order-service keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kept {
    /// Of which order.
    pub order_id: String,
    /// Its place in the order's history.
    pub version: i64,
    /// The id it was published under.
    pub message_id: String,
    /// Its type.
    pub message_type: String,
}

/// What inventory-service decided for an order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reservation {
    /// Where it stands.
    pub status: String,
    /// Pieces by product.
    pub lines: BTreeMap<String, u64>,
}

/// The payment of an order as payment-service keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Payment {
    /// Where it stands.
    pub status: String,
    /// What the provider knows it by.
    pub reference: Option<String>,
}

/// What counts against a customer's limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Exposure {
    /// Whose.
    pub customer_id: String,
    /// Of which currency.
    pub currency: String,
    /// How much, in minor units.
    pub amount: i64,
}

/// A process that ended without being told to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ended {
    /// Which.
    pub component: String,
    /// When, in milliseconds since the start of the run.
    pub at: u64,
    /// How, such as `exit status: 1`.
    pub how: String,
    /// Whether it gave up in order (its exit status is 1), rather than by a panic or a signal.
    pub in_order: bool,
}

impl Recorded {
    /// Returns the messages of a stream.
    pub fn stream<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Stored> {
        self.messages.iter().filter(move |message| message.stream == name)
    }

    /// Returns the messages of a stream, each once however often it was stored.
    #[must_use]
    pub fn distinct<'a>(&'a self, stream: &'a str) -> Vec<&'a Stored> {
        let mut seen = std::collections::BTreeSet::new();
        self.stream(stream).filter(|message| seen.insert(message.id())).collect()
    }

    /// Returns the distinct messages of a stream by the business id they are about.
    #[must_use]
    pub fn by_key<'a>(&'a self, stream: &'a str) -> BTreeMap<&'a str, Vec<&'a Stored>> {
        let mut by_key = BTreeMap::<&str, Vec<&Stored>>::new();
        for message in self.distinct(stream) {
            by_key.entry(message.key()).or_default().push(message);
        }
        by_key
    }
}
