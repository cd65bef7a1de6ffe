//! The live overview of a system: services and their backlogs, message rates, and a sample of the messages.
//!
//! One follower serves all clients, and runs only while there are any. It sends frames through a bounded broadcast: a
//! slow client misses frames and delays no one. In reading order: `representation` is the JSON for clients; `follower`
//! builds it from `discovery` (services and backlogs), `rates` (messages), and `sample`.

mod discovery;
mod follower;
mod rates;
mod representation;
mod sample;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, jetstream};
use futures::StreamExt;
use poem_openapi::types::ToJSON;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};

use crate::problem::Problem;
use crate::sse::{SseConnections, SseEvent, SseEvents};
pub use discovery::Discovered;
pub use rates::{FlowStats, FlowTypes, Route, Routes};
pub use representation::{
    OverviewEdge, OverviewMessage, OverviewMessages, OverviewService, OverviewStream, Presence,
};

/// How many frames are buffered for a client, about three seconds; a slower client misses frames.
const BUFFER: usize = 16;
/// How long the follower continues after the last client, which may be reloading the page.
const LINGER: Duration = Duration::from_secs(5);

/// The observed system.
#[derive(Debug, Clone)]
pub struct System {
    /// The program that observes; it counts as running.
    pub program: &'static str,
    /// The other services.
    pub services: Vec<String>,
    /// The streams whose messages are followed.
    pub followed: Vec<&'static str>,
    /// The other streams: their names, and whether services consume them.
    pub others: Vec<(&'static str, bool)>,
    /// The producers and consumers of the messages.
    pub routes: Routes,
    /// The flow whose rates and latencies are observed.
    pub flow: FlowTypes,
}

/// The state of the system. Rates and latencies cover the last ten seconds.
#[derive(Debug, Clone)]
pub struct SystemState {
    /// The services and streams.
    pub discovered: Discovered,
    /// Every message type with a consumer, one edge per consumer.
    pub edges: Vec<OverviewEdge>,
    /// The rates and latencies of flows.
    pub flows: FlowStats,
}

/// A frame that is sent to every client: the name of its event, and its JSON.
type Frame = (&'static str, Arc<str>);

/// Connects the follower to its clients.
struct Hub {
    frames: broadcast::Sender<Frame>,
    /// The latest state, for new clients; none while nothing follows.
    latest: Mutex<Option<Frame>>,
    client_connected: Notify,
}

impl Hub {
    /// Sends a sample of messages to all clients.
    fn send_messages(&self, messages: &OverviewMessages) {
        // The last client may have disconnected; that is not an error.
        self.frames.send(("messages", messages.to_json_string().into())).unwrap_or_default();
    }

    /// Sends the state, and keeps it for clients that connect before the next one.
    fn send_state(&self, json: String) {
        let frame: Frame = ("state", json.into());
        self.keep(Some(frame.clone()));
        self.frames.send(frame).unwrap_or_default();
    }

    fn keep(&self, state: Option<Frame>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn is_watched(&self) -> bool {
        self.frames.receiver_count() > 0
    }

    /// Waits until there is a client.
    async fn wait_for_client(&self) {
        while !self.is_watched() {
            self.client_connected.notified().await;
        }
    }
}

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
        let (frames, latest) = (broadcast::Sender::new(BUFFER), Mutex::default());
        Self { hub: Arc::new(Hub { frames, latest, client_connected: Notify::new() }), connections }
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
        let frames = self.hub.frames.subscribe();
        self.hub.client_connected.notify_one();
        let first = self.hub.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rest = futures::stream::unfold(frames, |mut frames| async move {
            loop {
                match frames.recv().await {
                    Ok(frame) => return Some((frame, frames)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        let frames = futures::stream::iter(first).chain(rest);
        Ok(self.connections.send(frames.map(|(event, json)| SseEvent::new(None, event, json)), permit))
    }
}
