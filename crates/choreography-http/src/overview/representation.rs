//! The JSON of an overview.

use poem_openapi::{Enum, Object};

use crate::json::Nullable;

/// Whether a component replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "kebab-case")]
pub enum Presence {
    /// It replies.
    Running,
    /// It does not reply: stopped, paused, or unreachable.
    Unavailable,
}

/// A service and its backlog.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub struct OverviewService {
    /// Its name.
    pub name: String,
    /// Whether it replies.
    pub state: Presence,
    /// The number of instances that reply.
    pub instances: u64,
    /// The messages in the streams that it has not received yet.
    pub backlog: u64,
    /// The messages that it has received and not acknowledged.
    pub unacknowledged: u64,
    /// The number of those that were delivered more than once.
    pub redelivered: u64,
}

/// A stream.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub struct OverviewStream {
    /// Its name.
    pub name: String,
    /// The number of messages in it.
    pub messages: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// The sequence of its first message.
    pub first_sequence: u64,
    /// The sequence of its last message.
    pub last_sequence: u64,
}

/// A message type between its producer and one consumer.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub struct OverviewEdge {
    /// The producer.
    pub from: String,
    /// The consumer.
    pub to: String,
    /// `<context>.<name>.v<version>`.
    pub r#type: String,
    /// `command` or `event`.
    pub kind: String,
    /// The rate.
    pub per_second: f64,
}

/// A sample of messages, without their bodies.
#[derive(Debug, Clone, Object)]
pub struct OverviewMessages {
    /// At most 20, an even sample, oldest first.
    pub messages: Vec<OverviewMessage>,
    /// The number of messages since the previous sample.
    pub seen: u64,
    /// The number of messages in this sample.
    pub shown: u64,
}

/// A message without its body.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub struct OverviewMessage {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// The stream.
    pub stream: String,
    /// Its id, a UUID.
    pub id: String,
    /// `<context>.<name>.v<version>`.
    pub r#type: String,
    /// `command` or `event`.
    pub kind: String,
    /// The producer.
    pub source: String,
    /// The consumers.
    pub to: Vec<String>,
    /// The business id, such as the id of an order.
    pub key: String,
    /// The NATS subject.
    pub subject: String,
    /// When the producer made it, RFC 3339.
    pub time: String,
    /// The id of the message that began the flow.
    pub correlation_id: String,
    /// The id of the message that caused this one.
    pub causation_id: Nullable<String>,
}
