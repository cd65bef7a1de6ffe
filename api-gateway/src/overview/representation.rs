//! What clients of `GET /overview` see.

use poem_openapi::{Enum, Object, Union};

use crate::json::Nullable;

/// One server-sent event of `GET /overview`; its `event` says which of the two it is.
#[derive(Debug, Union)]
pub(crate) enum OverviewFrame {
    /// `event: state`.
    State(OverviewState),
    /// `event: messages`.
    Messages(OverviewMessages),
}

/// The shop as it stands. Rates and latencies are those of the last ten seconds, or since somebody watches.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewState {
    /// When this was put together, RFC 3339.
    pub(super) at: String,
    /// Whether nats-server answers. While it is away, services and streams are as they were known last.
    pub(super) broker: Presence,
    /// The gateway and every service that listens to a stream, by name.
    pub(super) services: Vec<OverviewService>,
    /// The streams.
    pub(super) streams: Vec<OverviewStream>,
    /// Every type of message that somebody hears, once for each who does, with its rate.
    pub(super) edges: Vec<OverviewEdge>,
    /// How orders do.
    pub(super) orders: OverviewOrders,
}

/// Whether somebody answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "FlowPresence", rename_all = "kebab-case")]
pub(crate) enum Presence {
    /// It answers.
    Running,
    /// It does not: stopped, paused, or out of reach.
    Away,
}

/// A service, and what waits for it.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewService {
    /// Its name.
    pub(super) name: String,
    /// Whether it answers.
    pub(super) state: Presence,
    /// How many of it answer.
    pub(super) instances: u64,
    /// Messages that wait for it in the streams.
    pub(super) backlog: u64,
    /// Messages that it has and has not acknowledged.
    pub(super) unacknowledged: u64,
    /// Of those, the ones that were delivered more than once.
    pub(super) redelivered: u64,
}

/// A stream.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewStream {
    /// Its name.
    pub(super) name: String,
    /// How many messages it holds.
    pub(super) messages: u64,
    /// In how many bytes.
    pub(super) bytes: u64,
    /// The sequence of the first it holds.
    pub(super) first_sequence: u64,
    /// The sequence of the last it got.
    pub(super) last_sequence: u64,
}

/// A type of message between who says it and one who hears it.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewEdge {
    /// Who says it.
    pub(super) from: String,
    /// Who hears it.
    pub(super) to: String,
    /// `<context>.<name>.v<version>`.
    pub(super) r#type: String,
    /// `command` or `event`.
    pub(super) kind: String,
    /// How often it is said.
    pub(super) per_second: f64,
}

/// How orders do.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewOrders {
    /// How many come to be.
    pub(super) placed_per_second: f64,
    /// How many become final.
    pub(super) final_per_second: f64,
    /// From being placed to being final, by the server's clock.
    pub(super) latency_milliseconds: OverviewLatency,
    /// Of how many orders the latency is.
    pub(super) finals: u64,
}

/// A latency in milliseconds; null where no order became final whose beginning was seen, too.
#[derive(Debug, Clone, Object)]
pub(crate) struct OverviewLatency {
    /// The median.
    pub(super) p50: Nullable<f64>,
    /// The 99th percentile.
    pub(super) p99: Nullable<f64>,
}

/// Messages on their way, a sample of them, without their bodies.
#[derive(Debug, Clone, Object)]
pub(crate) struct OverviewMessages {
    /// 20 at most, evenly taken out of those that were seen, oldest first.
    pub(super) messages: Vec<OverviewMessage>,
    /// How many came since the last time.
    pub(super) seen: u64,
    /// How many of them are here.
    pub(super) shown: u64,
}

/// A message without its body.
#[derive(Debug, Clone, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct OverviewMessage {
    /// Its place in the stream.
    pub(super) sequence: u64,
    /// The stream.
    pub(super) stream: String,
    /// Its id, a UUID.
    pub(super) id: String,
    /// `<context>.<name>.v<version>`.
    pub(super) r#type: String,
    /// `command` or `event`.
    pub(super) kind: String,
    /// Who says it.
    pub(super) source: String,
    /// Who hears it.
    pub(super) to: Vec<String>,
    /// The business id it is about.
    pub(super) key: String,
    /// The NATS subject.
    pub(super) subject: String,
    /// When it was said, RFC 3339.
    pub(super) time: String,
    /// The id of the message that began the flow.
    pub(super) correlation_id: String,
    /// The id of the message this one answers.
    pub(super) causation_id: Nullable<String>,
}
