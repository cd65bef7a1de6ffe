//! The JSON of `GET /overview`.

use poem_openapi::{Enum, Object, Union};

use crate::json::Nullable;

/// A server-sent event of `GET /overview`; its `event` is the name of the variant.
#[derive(Debug, Union)]
pub(crate) enum OverviewFrame {
    /// `event: state`.
    State(OverviewState),
    /// `event: messages`.
    Messages(OverviewMessages),
}

/// The state of the shop. Rates and latencies cover the last ten seconds, or the time since the first client connected.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewState {
    /// When the state was read, RFC 3339.
    pub(super) at: String,
    /// Whether nats-server replies. While it is down, services and streams have their last known state.
    pub(super) broker: Presence,
    /// The gateway and every service that consumes a stream, by name.
    pub(super) services: Vec<OverviewService>,
    /// The streams.
    pub(super) streams: Vec<OverviewStream>,
    /// Every message type with a consumer, one edge per consumer, with its rate.
    pub(super) edges: Vec<OverviewEdge>,
    /// The rates and latencies of orders.
    pub(super) orders: OverviewOrders,
}

/// Whether a component replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "kebab-case")]
pub(crate) enum Presence {
    /// It replies.
    Running,
    /// It does not reply: stopped, paused, or unreachable.
    Unavailable,
}

/// A service and its backlog.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewService {
    /// Its name.
    pub(super) name: String,
    /// Whether it replies.
    pub(super) state: Presence,
    /// The number of instances that reply.
    pub(super) instances: u64,
    /// The messages in the streams that it has not received yet.
    pub(super) backlog: u64,
    /// The messages that it has received and not acknowledged.
    pub(super) unacknowledged: u64,
    /// The number of those that were delivered more than once.
    pub(super) redelivered: u64,
}

/// A stream.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewStream {
    /// Its name.
    pub(super) name: String,
    /// The number of messages in it.
    pub(super) messages: u64,
    /// Their size in bytes.
    pub(super) bytes: u64,
    /// The sequence of its first message.
    pub(super) first_sequence: u64,
    /// The sequence of its last message.
    pub(super) last_sequence: u64,
}

/// A message type between its producer and one consumer.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewEdge {
    /// The producer.
    pub(super) from: String,
    /// The consumer.
    pub(super) to: String,
    /// `<context>.<name>.v<version>`.
    pub(super) r#type: String,
    /// `command` or `event`.
    pub(super) kind: String,
    /// The rate.
    pub(super) per_second: f64,
}

/// The rates and latencies of orders.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewOrders {
    /// The rate of placed orders.
    pub(super) placed_per_second: f64,
    /// The rate of orders that became final.
    pub(super) final_per_second: f64,
    /// From placed to final, by the server's clock.
    pub(super) latency_milliseconds: OverviewLatency,
    /// The number of orders that the latency covers.
    pub(super) finals: u64,
}

/// A latency in milliseconds; null if no order was placed and became final in the observed time.
#[derive(Debug, Clone, Object)]
pub(crate) struct OverviewLatency {
    /// The median.
    pub(super) p50: Nullable<f64>,
    /// The 99th percentile.
    pub(super) p99: Nullable<f64>,
}

/// A sample of messages, without their bodies.
#[derive(Debug, Clone, Object)]
pub(crate) struct OverviewMessages {
    /// At most 20, an even sample, oldest first.
    pub(super) messages: Vec<OverviewMessage>,
    /// The number of messages since the previous sample.
    pub(super) seen: u64,
    /// The number of messages in this sample.
    pub(super) shown: u64,
}

/// A message without its body.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewMessage {
    /// Its sequence in the stream.
    pub(super) sequence: u64,
    /// The stream.
    pub(super) stream: String,
    /// Its id, a UUID.
    pub(super) id: String,
    /// `<context>.<name>.v<version>`.
    pub(super) r#type: String,
    /// `command` or `event`.
    pub(super) kind: String,
    /// The producer.
    pub(super) source: String,
    /// The consumers.
    pub(super) to: Vec<String>,
    /// The business id, such as the id of an order.
    pub(super) key: String,
    /// The NATS subject.
    pub(super) subject: String,
    /// When the producer made it, RFC 3339.
    pub(super) time: String,
    /// The id of the message that began the flow.
    pub(super) correlation_id: String,
    /// The id of the message that caused this one.
    pub(super) causation_id: Nullable<String>,
}
