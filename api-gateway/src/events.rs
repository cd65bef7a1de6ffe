//! `GET /events`: the shop's events, live, as Server-Sent Events.
//!
//! Each connection follows the stream with a consumer of its own ([`StreamFollower`]), so that it can resume anywhere.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Message};
use async_nats::{Client, HeaderMap};
use choreography::envelope;
use contracts::OrderId;
use contracts::topology::EVENTS;
use futures::StreamExt;
use futures::stream::BoxStream;
use poem::web::sse::Event;
use poem_openapi::payload::EventStream;
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, Union};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::Tag;
use crate::commands::unavailable;
use crate::json::Nullable;
use crate::parameter::{EventId, Header, Query};
use crate::problem::{Code, Codes, Failure, Problem};
use crate::stream_follower::{Follow, Followed, FollowedMessage, Reset, StreamFollower};

/// The contexts whose events are streamed. Accounts are excluded: their events contain addresses and cards.
const CONTEXTS: [&str; 3] = ["order", "inventory", "payment"];
/// How many clients may follow the events at the same time.
const MAX_CONNECTIONS: usize = 256;
/// How often a comment is sent on an idle connection. It keeps proxies from closing the connection. It also bounds how
/// long a lost client occupies a connection: poem notices the loss at the second write.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Events buffered for a slow client; further ones wait in the stream.
const BUFFER: usize = 64;
/// How long creating the first consumer may take.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(5);

/// The live feed of events.
pub(crate) struct EventsApi {
    client: Client,
    js: jetstream::Context,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// An event of the shop.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct ShopEvent {
    /// The `id` of the server-sent event.
    #[oai(skip)]
    event_id: Option<EventId>,
    /// The id of the event, a UUID.
    id: String,
    /// `<context>.<name>.v<version>`, such as `order.placed.v1`; the `event` of the server-sent event.
    r#type: String,
    /// The producer, such as `/order-service`.
    source: String,
    /// The NATS subject.
    subject: String,
    /// The business id, such as the id of an order.
    key: String,
    /// When the producer made it, RFC 3339.
    time: String,
    /// The id of the message that began the flow.
    correlation_id: String,
    /// The id of the message that caused this one.
    causation_id: Nullable<String>,
    /// The version of the aggregate after this event.
    version: Nullable<i64>,
    /// The body of the event.
    data: Value,
}

/// The feed has a gap after the client's last event; the client must read the current state again.
#[derive(Debug, Object)]
pub(crate) struct FeedReset {
    /// The `id` of the server-sent event.
    #[oai(skip)]
    event_id: Option<EventId>,
    /// The reason of the gap.
    reason: ResetReason,
}

/// Why the feed has a gap after the last event.
#[derive(Debug, Enum)]
#[oai(rename_all = "camelCase")]
pub(crate) enum ResetReason {
    /// The stream was deleted and created again; the feed continues with new events.
    Recreated,
    /// The stream no longer has the next events; the feed continues with the oldest one available.
    Expired,
}

/// The data of a server-sent event.
#[derive(Debug, Union)]
#[allow(clippy::large_enum_variant, reason = "nearly all are events, and one exists at a time")]
pub(crate) enum FeedEvent {
    /// An event of the shop.
    Event(ShopEvent),
    /// The feed has a gap.
    Reset(FeedReset),
}

/// The responses of `GET /events`.
#[derive(ApiResponse)]
pub(crate) enum FollowEvents {
    /// Each event as it happens: its position in the stream as `id`, its type as `event`, and itself as `data`. On an
    /// idle connection, a comment every 5 seconds. If the feed has a gap, `reset` as `event` and a `FeedReset` as
    /// `data`.
    #[oai(status = 200)]
    Following(EventStream<BoxStream<'static, FeedEvent>>),
}

/// The errors of `GET /events`.
pub(crate) struct FollowEventsFailures;

impl Codes for FollowEventsFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::Unavailable, Code::TooManyStreams];
}

#[OpenApi(tag = "Tag::Events")]
impl EventsApi {
    /// Follow the events
    ///
    /// Streams new events, or resumes after `Last-Event-ID`, which browsers send when they reconnect. An id is
    /// `<generation>-<sequence>`: when the stream was created, and the position in it. A sequence alone refers to the
    /// current stream. If the stream was deleted and created again, the feed begins with an event `reset` and continues
    /// with new events. If the stream no longer has the next events, it continues with the oldest one available. Events
    /// of accounts are not included.
    #[oai(path = "/events", method = "get", operation_id = "followEvents")]
    async fn follow(
        &self,
        /// Only events with this order id, of all services.
        #[oai(name = "orderId")]
        order_id: Query<OrderId>,
        /// The same as `Last-Event-ID`, for clients that cannot set headers; the header takes precedence.
        #[oai(name = "lastEventId")]
        last_event_id: Query<EventId>,
        /// Resumes after this event.
        #[oai(name = "Last-Event-ID")]
        last_event_id_header: Header<EventId>,
    ) -> Result<FollowEvents, Failure<FollowEventsFailures>> {
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| Problem::new(Code::TooManyStreams))?;
        let key = order_id.0.map_or_else(|| "*".to_owned(), |id| id.to_string());
        let filter = CONTEXTS.iter().map(|context| format!("{context}.event.*.{key}")).collect();
        let last = last_event_id_header.0.or(last_event_id.0);
        let events = self.begin(filter, last, permit).await?;
        let stream = EventStream::new(events).keep_alive(HEARTBEAT).to_event(|event| {
            let message = Event::message(event.to_json_string());
            let (id, name) = match event {
                FeedEvent::Event(event) => (event.event_id, event.r#type),
                FeedEvent::Reset(reset) => (reset.event_id, "reset".to_owned()),
            };
            message.id(id.map(|id| id.to_string()).unwrap_or_default()).event_type(name)
        });
        Ok(FollowEvents::Following(stream))
    }
}

impl EventsApi {
    /// Serves at most `clients` connections at a time, and at most 256.
    pub(crate) fn new(client: Client, js: jetstream::Context, clients: usize, shutdown: CancellationToken) -> Self {
        Self { client, js, permits: Arc::new(Semaphore::new(clients.min(MAX_CONNECTIONS))), shutdown }
    }

    /// Creates the first consumer, so that its failure becomes an HTTP response, and streams from it.
    async fn begin(
        &self,
        filter: Vec<String>,
        last: Option<EventId>,
        permit: OwnedSemaphorePermit,
    ) -> Result<BoxStream<'static, FeedEvent>, Problem> {
        if self.client.connection_state() != State::Connected {
            return Err(unavailable("there is no connection to nats-server"));
        }
        let follow = Follow { stream: EVENTS, filter, headers_only: false, batch: BUFFER };
        let mut follower = StreamFollower::new(self.client.clone(), self.js.clone(), follow, last);
        match tokio::time::timeout(CONSUMER_TIMEOUT, follower.open()).await {
            Ok(opened) => opened.map_err(|error| unavailable(&format!("the events: {error}")))?,
            Err(_) => return Err(unavailable("JetStream did not create a consumer in time")),
        }
        let (sender, receiver) = mpsc::channel(BUFFER);
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = send(follower, &sender) => {}
                () = sender.closed() => {}
                () = shutdown.cancelled() => {}
            }
        });
        Ok(futures::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
            .boxed())
    }
}

/// Sends events until the client disconnects.
async fn send(mut follower: StreamFollower, sender: &mpsc::Sender<FeedEvent>) {
    loop {
        let event = match follower.next().await {
            Followed::Message(FollowedMessage { message, id, .. }) => read(&message, id).map(FeedEvent::Event),
            Followed::Reset(id, Reset::Recreated) => Some(reset(id, ResetReason::Recreated)),
            Followed::Reset(id, Reset::Expired) => Some(reset(id, ResetReason::Expired)),
        };
        if let Some(event) = event
            && sender.send(event).await.is_err()
        {
            return;
        }
    }
}

fn reset(id: EventId, reason: ResetReason) -> FeedEvent {
    FeedEvent::Reset(FeedReset { event_id: Some(id), reason })
}

/// Decodes an event; `None` if the message is not a valid event of the shop, for example without its headers.
fn read(message: &Message, event_id: EventId) -> Option<ShopEvent> {
    let headers: &HeaderMap = message.headers.as_ref()?;
    let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    Some(ShopEvent {
        event_id: Some(event_id),
        id: header(envelope::ID)?,
        r#type: header(envelope::TYPE)?,
        source: header(envelope::SOURCE)?,
        subject: message.subject.to_string(),
        key: header(envelope::SUBJECT)?,
        time: header(envelope::TIME)?,
        correlation_id: header(envelope::CORRELATION_ID)?,
        causation_id: header(envelope::CAUSATION_ID).into(),
        version: header(envelope::AGGREGATE_VERSION).and_then(|version| version.parse().ok()).into(),
        data: serde_json::from_slice(&message.payload).ok()?,
    })
}
