//! The record of a run at its end, as plain data: API responses, streams, tables, and the provider's ledger. The
//! checks read nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::history::Exchange;

/// The token of another client's charges under the keys of this shop, in the provider's ledger.
pub const OTHER_CLIENT: &str = "tok_other_client";

/// The record of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Recorded {
    /// The requests of customers, and the responses.
    pub exchanges: Vec<Exchange>,
    /// The messages of COMMANDS, EVENTS, and TIMERS, by stream and sequence.
    pub messages: Vec<Stored>,
    /// The number of messages per stream that were deleted before the campaign had copied them.
    pub missed: BTreeMap<String, u64>,
    /// The messages of `DEAD_LETTERS`.
    pub dead_letters: Vec<Stored>,
    /// The orders in API responses, by id.
    pub orders: BTreeMap<String, Value>,
    /// The products in API responses, by id.
    pub products: BTreeMap<String, Stock>,
    /// The accounts in API responses, by customer.
    pub accounts: BTreeMap<String, Value>,
    /// The notifications of customers.
    pub notifications: Vec<Notification>,
    /// The events in the histories of order-service.
    pub history: Vec<Kept>,
    /// The reservations of inventory-service, by order.
    pub reservations: BTreeMap<String, Reservation>,
    /// The payments of payment-service, by order.
    pub payments: BTreeMap<String, Payment>,
    /// The exposures of payment-service, by customer and currency.
    pub exposures: Vec<Exposure>,
    /// The entries of the payment provider's ledger, in order.
    pub ledger: Vec<Value>,
    /// The rows of each projection, as JSON, by projection and key.
    pub read_models: BTreeMap<String, BTreeMap<String, Value>>,
    /// The orders whose payments needed manual action at the end.
    pub alarms: BTreeSet<String>,
    /// The number of pending outbox batches, by service.
    pub outbox_pending: BTreeMap<String, u64>,
    /// The number of pending and unacknowledged messages, by consumer.
    pub unsettled: BTreeMap<String, u64>,
    /// Processes that ended without being requested to.
    pub ended: Vec<Ended>,
    /// Components that were not ready long after all faults were cleared, and why.
    pub unready: Vec<String>,
    /// The response of `GET /invariants` at the end.
    pub invariants: Value,
    /// The CPU usage of each process at rest, in percent of a core.
    pub idle_cpu: BTreeMap<String, f64>,
    /// The number of lines that each component wrote.
    pub log_lines: BTreeMap<String, u64>,
    /// The length of the run, in seconds.
    pub seconds: u64,
    /// Lines of output that contain a password.
    pub leaks: Vec<String>,
    /// How each process ended on SIGTERM.
    pub exits: BTreeMap<String, String>,
}

/// A message in a stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stored {
    /// The name of the stream.
    pub stream: String,
    /// The sequence in the stream.
    pub sequence: u64,
    /// The subject.
    pub subject: String,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
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

    /// Returns its business id.
    #[must_use]
    pub fn key(&self) -> &str {
        self.header("ce-subject")
    }

    /// Returns when it was created, RFC 3339.
    #[must_use]
    pub fn time(&self) -> &str {
        self.header("ce-time")
    }

    /// Returns the id of the message that caused it; empty if there is none.
    #[must_use]
    pub fn cause(&self) -> &str {
        self.header("ce-causationid")
    }

    /// Returns the id of the first message of the flow.
    #[must_use]
    pub fn correlation(&self) -> &str {
        self.header("ce-correlationid")
    }

    /// Returns the version of the aggregate after this event.
    #[must_use]
    pub fn version(&self) -> Option<i64> {
        self.header("ce-aggregateversion").parse().ok()
    }
}

/// The stock of a product, in units.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stock {
    /// In stock and not reserved.
    pub available: u64,
    /// Reserved for orders.
    pub reserved: u64,
    /// Requested by backordered orders.
    pub backordered: u64,
}

/// A notification of a customer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Notification {
    /// The id of the event that caused it.
    pub event_id: String,
    /// The notified customer.
    pub customer_id: String,
    /// The order that it is about.
    pub order_id: String,
}

/// An event in the history of an order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kept {
    /// The id of the order.
    pub order_id: String,
    /// Its position in the order's history.
    pub version: i64,
    /// The id of the published message.
    pub message_id: String,
    /// Its type.
    pub message_type: String,
}

/// The reservation of an order in inventory-service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reservation {
    /// The current status.
    pub status: String,
    /// The units, by product.
    pub lines: BTreeMap<String, u64>,
}

/// The payment of an order in payment-service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Payment {
    /// The current status.
    pub status: String,
    /// The identifier of the payment at the provider.
    pub reference: Option<String>,
}

/// The exposure of a customer, which counts against the credit limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Exposure {
    /// The id of the customer.
    pub customer_id: String,
    /// The currency.
    pub currency: String,
    /// The amount, in minor units.
    pub amount: i64,
}

/// A process that ended without being requested to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ended {
    /// The component.
    pub component: String,
    /// When, in milliseconds since the start of the run.
    pub at: u64,
    /// How, such as `exit status: 1`.
    pub how: String,
    /// Whether it exited with status 0 or 1, rather than by a panic or a signal.
    pub in_order: bool,
}

impl Recorded {
    /// Returns the messages of a stream.
    pub fn stream<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Stored> {
        self.messages.iter().filter(move |message| message.stream == name)
    }

    /// Returns the messages of a stream, each once even if it is stored repeatedly.
    #[must_use]
    pub fn distinct<'a>(&'a self, stream: &'a str) -> Vec<&'a Stored> {
        let mut seen = std::collections::BTreeSet::new();
        self.stream(stream).filter(|message| seen.insert(message.id())).collect()
    }

    /// Returns the distinct messages of a stream by their business ids.
    #[must_use]
    pub fn by_key<'a>(&'a self, stream: &'a str) -> BTreeMap<&'a str, Vec<&'a Stored>> {
        let mut by_key = BTreeMap::<&str, Vec<&Stored>>::new();
        for message in self.distinct(stream) {
            by_key.entry(message.key()).or_default().push(message);
        }
        by_key
    }
}
