//! `GET /overview`: the shop seen from above, live: who runs and what waits for them, and a sample of what is said.
//!
//! One follower looks for all clients, and only while there are any. What it sees goes through a bounded broadcast: a
//! client that reads slowly misses frames, and nobody waits for it. In reading order: `representation` is what clients
//! see, `follower` puts it together out of `discovery` (who runs, what waits) and `rates` (what is said).

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

/// How many clients may watch at the same time.
const MAX_CONNECTIONS: usize = 256;
/// Frames on their way to a client; what it has not read by then it misses. About three seconds.
const BUFFER: usize = 16;
/// How often a comment is sent while nothing else is.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the follower goes on when the last client is gone: pages are loaded again.
const LINGER: Duration = Duration::from_secs(5);

/// A frame as it goes to every client.
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

/// Between the follower and its clients.
pub(crate) struct Hub {
    frames: broadcast::Sender<Frame>,
    /// The latest state, for who comes in between; none while nobody follows.
    latest: Mutex<Option<Frame>>,
    came: Notify,
}

impl Hub {
    fn new() -> Self {
        Self { frames: broadcast::Sender::new(BUFFER), latest: Mutex::default(), came: Notify::new() }
    }

    /// Sends a frame to who is there.
    fn send(&self, event: &'static str, content: &impl ToJSON) {
        // Nobody may be there any more.
        self.frames.send(Frame { event, json: content.to_json_string().into() }).unwrap_or_default();
    }

    /// Sends the state, and keeps it for who comes before the next.
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

    /// Waits until there is somebody.
    async fn watched(&self) {
        while !self.is_watched() {
            self.came.notified().await;
        }
    }

    /// Returns what a client sees from now on.
    fn watch(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> BoxStream<'static, Frame> {
        let frames = self.frames.subscribe();
        self.came.notify_one();
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

/// The shop seen from above.
pub(crate) struct OverviewApi {
    hub: Arc<Hub>,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl OverviewApi {
    /// Serves `clients` at a time, and not more than 256.
    pub(crate) fn new(clients: usize, shutdown: CancellationToken) -> Self {
        let permits = Arc::new(Semaphore::new(clients.min(MAX_CONNECTIONS)));
        Self { hub: Arc::new(Hub::new()), permits, shutdown }
    }

    /// Looks for whoever watches, forever.
    ///
    /// # Errors
    ///
    /// Where the declared topology cannot be read.
    pub(crate) fn follow(
        &self,
        client: Client,
        js: jetstream::Context,
    ) -> impl Future<Output = anyhow::Result<()>> + 'static {
        follower::run(client, js, self.hub.clone())
    }
}

/// Answers to `GET /overview`.
#[derive(ApiResponse)]
pub(crate) enum WatchOverview {
    /// `state` as `event` and a `OverviewState` as `data`, at once and every second; `messages` and a `OverviewMessages`,
    /// every quarter of a second at most, where there are some.
    #[oai(status = 200)]
    Watching(EventStream<BoxStream<'static, Frame>>),
}

/// How `GET /overview` may fail.
pub(crate) struct WatchOverviewFailures;

impl Codes for WatchOverviewFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::TooManyStreams];
}

#[OpenApi(tag = "Tag::Events")]
impl OverviewApi {
    /// Watch the shop from above
    ///
    /// Which services run and what waits for them, what the streams hold, who says how much to whom, and a sample of
    /// the messages without their bodies. There is nothing to resume: what is missed is missed. `GET /events` has
    /// every event, and whole.
    #[oai(path = "/overview", method = "get", operation_id = "watchOverview")]
    async fn watch(&self) -> Result<WatchOverview, Failure<WatchOverviewFailures>> {
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| Problem::new(Code::TooManyStreams))?;
        let frames = self.hub.watch(permit).take_until(self.shutdown.clone().cancelled_owned()).boxed();
        let stream = EventStream::new(frames).keep_alive(HEARTBEAT);
        let stream = stream.to_event(|frame| Event::message(frame.json.as_ref()).event_type(frame.event));
        Ok(WatchOverview::Watching(stream))
    }
}
