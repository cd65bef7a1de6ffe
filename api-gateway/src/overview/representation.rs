//! The JSON of `GET /overview`.

use choreography_http::overview::{OverviewEdge, OverviewMessages, OverviewService, OverviewStream, Presence};
use poem_openapi::{Object, Union};

use choreography_http::json::Nullable;

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
