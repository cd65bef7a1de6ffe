//! The live overview of a system: services and their backlogs, message rates, and a sample of the messages.
//!
//! One follower serves all clients, and runs only while there are any. It sends frames through a bounded broadcast: a
//! slow client misses frames and delays no one. In reading order: `representation` is the JSON for clients; `hub` sends it;
//! `follower` builds it from `discovery` (services and backlogs), `rates` (messages), and `sample`.

mod discovery;
mod follower;
mod hub;
mod rates;
mod representation;
mod sample;
mod system;

use std::sync::Arc;

use async_nats::{Client, jetstream};
use futures::StreamExt;

use crate::problem::Problem;
use crate::sse::{SseConnections, SseEvent, SseEvents};
pub use discovery::Discovered;
pub use follower::SystemState;
use hub::Hub;
pub use rates::{FlowStats, FlowTypes};
pub use representation::{
    OverviewEdge, OverviewMessage, OverviewMessages, OverviewService, OverviewStream, Presence,
};
pub use system::System;

/// The overview and its clients.
#[derive(Clone)]
pub struct Overview {
    hub: Arc<Hub>,
    connections: SseConnections,
}

impl Overview {
    /// Serves clients on these connections.
    #[must_use]
    pub fn new(connections: SseConnections) -> Self {
        Self { hub: Arc::new(Hub::default()), connections }
    }

    /// Follows the streams while there are clients, forever. `state` writes a state as JSON.
    pub fn follow(
        &self,
        client: Client,
        js: jetstream::Context,
        system: System,
        state: fn(SystemState) -> String,
    ) -> impl Future<Output = ()> + Send + 'static {
        follower::run(client, js, self.hub.clone(), system, state)
    }

    /// Returns the frames for a new client: `state` at once and every second, and `messages` ([`OverviewMessages`]) at
    /// most every quarter of a second. `T` is their schema.
    ///
    /// # Errors
    ///
    /// The problem of too many connections.
    pub fn watch<T: Send + 'static>(&self) -> Result<SseEvents<T>, Problem> {
        let permit = self.connections.reserve()?;
        let frames = self.hub.watch();
        Ok(self.connections.send(frames.map(|(event, json)| SseEvent::new(None, event, json)), permit))
    }
}
