//! `GET /events`: what happens in the store, live, as Server-Sent Events.
//!
//! Each connection follows the stream by itself ([`Tail`]), so that it can begin wherever it left off.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Message};
use async_nats::{Client, HeaderMap};
use contracts::OrderId;
use contracts::topology::EVENTS;
use futures::StreamExt;
use futures::stream::BoxStream;
use messaging::envelope;
use poem::web::sse::Event;
use poem_openapi::payload::EventStream;
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::Tag;
use crate::commands::unavailable;
use crate::json::Nullable;
use crate::parameter::{EventSequence, Header, Query};
use crate::problem::{Code, Codes, Failure, Problem};
use crate::tail::{Follow, Tail, Tailed};

/// The contexts whose events are shown. Not the accounts': these say where customers live and how they pay.
const CONTEXTS: [&str; 3] = ["order", "inventory", "payment"];
/// How many clients may follow the events at the same time.
const MAX_CONNECTIONS: usize = 256;
/// How often a comment is sent while nothing happens: so that nobody in between closes the connection, and because
/// poem notices that a client is gone only at the second write after that, which is when its place is free again.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Events on their way to a client that reads slowly; the rest waits in the stream.
const BUFFER: usize = 64;
/// The longest the first consumer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The live feed.
pub(crate) struct EventsApi {
    client: Client,
    js: jetstream::Context,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// Something that happened.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct StoreEvent {
    /// The place in the stream of events; the `id` of the server-sent event.
    #[oai(skip)]
    sequence: u64,
    /// The id of the event, a UUID.
    id: String,
    /// `<context>.<name>.v<version>`, such as `order.placed.v1`; the `event` of the server-sent event.
    r#type: String,
    /// Who says it, such as `/order-service`.
    source: String,
    /// The NATS subject.
    subject: String,
    /// The business id it is about.
    key: String,
    /// When it was said, RFC 3339.
    time: String,
    /// The id of the message that began the flow.
    correlation_id: String,
    /// The id of the message this one answers.
    causation_id: Nullable<String>,
    /// The version of what it is about that this event made.
    version: Nullable<i64>,
    /// What it says.
    data: Value,
}

/// Answers to `GET /events`.
#[derive(ApiResponse)]
pub(crate) enum FollowEvents {
    /// Each event as it happens, with its sequence as `id`, its type as `event`, and itself as `data`. A comment
    /// every 5 seconds while nothing happens.
    #[oai(status = 200)]
    Following(EventStream<BoxStream<'static, StoreEvent>>),
}

/// How `GET /events` may fail.
pub(crate) struct FollowEventsFailures;

impl Codes for FollowEventsFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::Unavailable, Code::TooManyStreams];
}

#[OpenApi(tag = "Tag::Events")]
impl EventsApi {
    /// Follow the events
    ///
    /// Begins with what happens from now on, or behind the event whose id `Last-Event-ID` names; browsers send it by
    /// themselves when they connect again. Events are kept for seven days. An id that the stream has not reached is
    /// one of a stream that is gone, and everything since then is sent. Events of accounts are not shown.
    #[oai(path = "/events", method = "get", operation_id = "followEvents")]
    async fn follow(
        &self,
        /// Only the events of this order, those of other services about it included.
        #[oai(name = "orderId")]
        order_id: Query<OrderId>,
        /// The same as `Last-Event-ID`, for clients that cannot set headers; the header counts where both are there.
        #[oai(name = "lastEventId")]
        last_event_id: Query<EventSequence>,
        /// Goes on behind this event.
        #[oai(name = "Last-Event-ID")]
        last_event_id_header: Header<EventSequence>,
    ) -> Result<FollowEvents, Failure<FollowEventsFailures>> {
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| Problem::new(Code::TooManyStreams))?;
        let key = order_id.0.map_or_else(|| "*".to_owned(), |id| id.to_string());
        let filter = CONTEXTS.iter().map(|context| format!("{context}.event.*.{key}")).collect();
        let last = last_event_id_header.0.or(last_event_id.0).map(|EventSequence(sequence)| sequence);
        let events = self.begin(filter, last, permit).await?;
        let stream = EventStream::new(events).keep_alive(HEARTBEAT).to_event(|event| {
            Event::message(event.to_json_string()).id(event.sequence.to_string()).event_type(event.r#type)
        });
        Ok(FollowEvents::Following(stream))
    }
}

impl EventsApi {
    pub(crate) fn new(client: Client, js: jetstream::Context, shutdown: CancellationToken) -> Self {
        Self { client, js, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)), shutdown }
    }

    /// Makes the first consumer, so that a failure can still be answered as one, and feeds from it.
    async fn begin(
        &self,
        filter: Vec<String>,
        last: Option<u64>,
        permit: OwnedSemaphorePermit,
    ) -> Result<BoxStream<'static, StoreEvent>, Problem> {
        if self.client.connection_state() != State::Connected {
            return Err(unavailable("there is no connection to nats-server"));
        }
        let follow = Follow { stream: EVENTS, filter, headers_only: false, batch: BUFFER };
        let mut tail = Tail::new(self.client.clone(), self.js.clone(), follow, last);
        match tokio::time::timeout(PATIENCE, tail.open()).await {
            Ok(opened) => opened.map_err(|error| unavailable(&format!("the events: {error}")))?,
            Err(_) => return Err(unavailable("JetStream did not make a consumer in time")),
        }
        let (sender, receiver) = mpsc::channel(BUFFER);
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = send(tail, &sender) => {}
                () = sender.closed() => {}
                () = shutdown.cancelled() => {}
            }
        });
        Ok(futures::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
            .boxed())
    }
}

/// Sends events until the client is gone.
async fn send(mut tail: Tail, sender: &mpsc::Sender<StoreEvent>) {
    loop {
        let Tailed { message, sequence, .. } = tail.next().await;
        if let Some(event) = read(&message, sequence)
            && sender.send(event).await.is_err()
        {
            return;
        }
    }
}

/// Reads an event; `None` for what is no event of the store, such as a message without its headers.
fn read(message: &Message, sequence: u64) -> Option<StoreEvent> {
    let headers: &HeaderMap = message.headers.as_ref()?;
    let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    Some(StoreEvent {
        sequence,
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
