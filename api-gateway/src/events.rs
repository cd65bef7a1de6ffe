//! `GET /events`: the shop's events, live, as Server-Sent Events.

use choreography::envelope;
use choreography_http::code::Code;
use choreography_http::failures;
use choreography_http::feed::{Feed, FeedReset};
use choreography_http::json::Nullable;
use choreography_http::parameter::{EventId, Header, Id, Query};
use choreography_http::problem::Failure;
use choreography_http::sse::{SseEvent, SseEvents};
use choreography_http::stream_follower::FollowedMessage;
use contracts::OrderId;
use contracts::topology::EVENTS;
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, Object, OpenApi, Union};
use serde_json::Value;

use crate::Tag;

/// The contexts whose events are streamed. Accounts are excluded: their events contain addresses and cards.
const CONTEXTS: [&str; 3] = ["order", "inventory", "payment"];

/// The live feed of events.
pub(crate) struct EventsApi {
    pub(crate) feed: Feed,
}

/// An event of the shop.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct ShopEvent {
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

/// The data of a server-sent event.
#[derive(Debug, Union)]
#[allow(clippy::large_enum_variant, reason = "it only describes the JSON")]
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
    Following(SseEvents<FeedEvent>),
}

failures! {
    /// The errors of `GET /events`.
    FollowEventsFailures = Code::OF_QUERY, &[Code::TOO_MANY_STREAMS];
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
        order_id: Query<Id<OrderId>>,
        /// The same as `Last-Event-ID`, for clients that cannot set headers; the header takes precedence.
        #[oai(name = "lastEventId")]
        last_event_id: Query<EventId>,
        /// Resumes after this event.
        #[oai(name = "Last-Event-ID")]
        last_event_id_header: Header<EventId>,
    ) -> Result<FollowEvents, Failure<FollowEventsFailures>> {
        let key = order_id.0.map_or_else(|| "*".to_owned(), |Id(id)| id.to_string());
        let filter = CONTEXTS.iter().map(|context| format!("{context}.event.*.{key}")).collect();
        let last = last_event_id_header.0.or(last_event_id.0);
        Ok(FollowEvents::Following(self.feed.follow(EVENTS, filter, last, read).await?))
    }
}

/// Decodes an event; `None` if the message is not a valid event of the shop, for example without its headers.
fn read(followed: &FollowedMessage) -> Option<SseEvent<FeedEvent>> {
    let header = |name: &str| followed.header(name).map(str::to_owned);
    let event = ShopEvent {
        id: header(envelope::ID)?,
        r#type: header(envelope::TYPE)?,
        source: header(envelope::SOURCE)?,
        subject: followed.message.subject.to_string(),
        key: header(envelope::SUBJECT)?,
        time: header(envelope::TIME)?,
        correlation_id: header(envelope::CORRELATION_ID)?,
        causation_id: header(envelope::CAUSATION_ID).into(),
        version: header(envelope::AGGREGATE_VERSION).and_then(|version| version.parse().ok()).into(),
        data: serde_json::from_slice(&followed.message.payload).ok()?,
    };
    let json = event.to_json_string();
    Some(SseEvent::new(Some(followed.id), event.r#type, json))
}
