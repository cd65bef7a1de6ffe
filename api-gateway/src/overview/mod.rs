//! `GET /overview`: the live system overview: services and their backlogs, and a sample of the messages.
//!
//! One follower serves all clients, and runs only while there are any. It sends frames through a bounded broadcast: a
//! slow client misses frames and delays no one. In reading order: `representation` is the JSON for clients; `follower`
//! builds it from `discovery` (services and backlogs) and `rates` (messages).

mod discovery;
mod follower;
mod rates;
mod representation;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use futures::StreamExt;
use futures::stream::BoxStream;
use poem::web::sse::Event;
use poem_openapi::payload::EventStream;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, OpenApi};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::Tag;
use crate::problem::{Code, Codes, Failure, Problem};
use representation::OverviewFrame;

/// How many clients may be connected at the same time.
const MAX_CONNECTIONS: usize = 256;
/// How many frames are buffered for a client, about three seconds; a slower client misses frames.
const BUFFER: usize = 16;
/// How often a comment is sent on an idle connection.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the follower continues after the last client, which may be reloading the dashboard.
const LINGER: Duration = Duration::from_secs(5);

/// A frame that is sent to every client.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    event: &'static str,
    json: Arc<str>,
}

impl Type for Frame {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        OverviewFrame::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        OverviewFrame::schema_ref()
    }

    fn register(registry: &mut Registry) {
        OverviewFrame::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::empty())
    }
}

impl ToJSON for Frame {
    fn to_json(&self) -> Option<Value> {
        serde_json::from_str(&self.json).ok()
    }
}

/// Connects the follower to its clients.
pub(crate) struct Hub {
    frames: broadcast::Sender<Frame>,
    /// The latest state, for new clients; none while nothing follows.
    latest: Mutex<Option<Frame>>,
    client_connected: Notify,
}

impl Hub {
    fn new() -> Self {
        Self { frames: broadcast::Sender::new(BUFFER), latest: Mutex::default(), client_connected: Notify::new() }
    }

    /// Sends a frame to all clients.
    fn send(&self, event: &'static str, content: &impl ToJSON) {
        // The last client may have disconnected; that is not an error.
        self.frames.send(Frame { event, json: content.to_json_string().into() }).unwrap_or_default();
    }

    /// Sends the state, and keeps it for clients that connect before the next one.
    fn send_state(&self, content: &impl ToJSON) {
        let frame = Frame { event: "state", json: content.to_json_string().into() };
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

    /// Returns the frames for a new client.
    fn watch(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> BoxStream<'static, Frame> {
        let frames = self.frames.subscribe();
        self.client_connected.notify_one();
        let first = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rest = futures::stream::unfold((frames, permit), |(mut frames, permit)| async move {
            loop {
                match frames.recv().await {
                    Ok(frame) => return Some((frame, (frames, permit))),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        futures::stream::iter(first).chain(rest).boxed()
    }
}

/// The operation of the system overview.
pub(crate) struct OverviewApi {
    hub: Arc<Hub>,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl OverviewApi {
    /// Serves at most `clients` connections at a time, and at most 256.
    pub(crate) fn new(clients: usize, shutdown: CancellationToken) -> Self {
        let permits = Arc::new(Semaphore::new(clients.min(MAX_CONNECTIONS)));
        Self { hub: Arc::new(Hub::new()), permits, shutdown }
    }

    /// Follows the streams while there are clients, forever.
    ///
    /// # Errors
    ///
    /// If the declared topology cannot be read.
    pub(crate) fn follow(
        &self,
        client: Client,
        js: jetstream::Context,
    ) -> impl Future<Output = anyhow::Result<()>> + 'static {
        follower::run(client, js, self.hub.clone())
    }
}

/// The responses of `GET /overview`.
#[derive(ApiResponse)]
pub(crate) enum WatchOverview {
    /// `state` as `event` and a `OverviewState` as `data`, at once and every second. `messages` and a
    /// `OverviewMessages` at most every quarter of a second, if there are messages.
    #[oai(status = 200)]
    Watching(EventStream<BoxStream<'static, Frame>>),
}

/// The errors of `GET /overview`.
pub(crate) struct WatchOverviewFailures;

impl Codes for WatchOverviewFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::TooManyStreams];
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
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| Problem::new(Code::TooManyStreams))?;
        let frames = self.hub.watch(permit).take_until(self.shutdown.clone().cancelled_owned()).boxed();
        let stream = EventStream::new(frames).keep_alive(HEARTBEAT);
        let stream = stream.to_event(|frame| Event::message(frame.json.as_ref()).event_type(frame.event));
        Ok(WatchOverview::Watching(stream))
    }
}
