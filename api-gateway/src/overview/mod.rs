//! `GET /overview`: the live system overview: services and their backlogs, and a sample of the messages.

mod representation;

use choreography::clock;
use choreography::envelope::rfc3339;
use choreography_http::code::Code;
use choreography_http::failures;
use choreography_http::overview::{FlowTypes, Overview, System, SystemState};
use choreography_http::problem::Failure;
use choreography_http::sse::SseEvents;
use contracts::declaration::declarations;
use contracts::topology::{API_GATEWAY, COMMANDS, DEAD_LETTERS, EVENTS, TIMERS};
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, OpenApi};

use crate::Tag;
use representation::{OverviewFrame, OverviewLatency, OverviewOrders, OverviewState};

/// The flow of an order.
const FLOW: FlowTypes = FlowTypes { first: "order.placed.v1", last: &["order.confirmed.v1", "order.cancelled.v1"] };

/// The operation of the system overview.
pub(crate) struct OverviewApi {
    pub(crate) overview: Overview,
}

/// Returns the shop as it is observed.
pub(crate) fn shop() -> System {
    System {
        program: API_GATEWAY,
        declarations: declarations().into(),
        followed: vec![COMMANDS, EVENTS],
        others: vec![(TIMERS, true), (DEAD_LETTERS, false)],
        flow: FLOW,
    }
}

/// Writes a state as JSON.
pub(crate) fn state_json(state: SystemState) -> String {
    let SystemState { discovered, edges, flows } = state;
    let orders = OverviewOrders {
        placed_per_second: flows.begun_per_second,
        final_per_second: flows.ended_per_second,
        latency_milliseconds: OverviewLatency { p50: flows.p50.into(), p99: flows.p99.into() },
        finals: flows.ended,
    };
    let at = rfc3339(clock::now());
    OverviewState {
        at,
        broker: discovered.broker,
        services: discovered.services,
        streams: discovered.streams,
        edges,
        orders,
    }
    .to_json_string()
}

/// The responses of `GET /overview`.
#[derive(ApiResponse)]
pub(crate) enum WatchOverview {
    /// `state` as `event` and a `OverviewState` as `data`, at once and every second. `messages` and a
    /// `OverviewMessages` at most every quarter of a second, if there are messages.
    #[oai(status = 200)]
    Watching(SseEvents<OverviewFrame>),
}

failures! {
    /// The errors of `GET /overview`.
    WatchOverviewFailures = &[Code::INVALID_PARAMETER, Code::TOO_MANY_STREAMS];
}

#[OpenApi(tag = "Tag::Events")]
impl OverviewApi {
    /// Follow the system overview
    ///
    /// The running services, their backlogs, and the state of the streams. Also the message rates from producer to
    /// consumer, and a sample of the messages without their bodies. The feed cannot be resumed; a client that reconnects
    /// misses frames. `GET /events` has every event with its body.
    #[oai(path = "/overview", method = "get", operation_id = "watchOverview")]
    async fn watch(&self) -> Result<WatchOverview, Failure<WatchOverviewFailures>> {
        Ok(WatchOverview::Watching(self.overview.watch()?))
    }
}
