//! Follows a stream message by message, across reconnects and restarts of the server.
//!
//! Each follower has an ephemeral consumer and creates a new one, right after the last message, whenever it ends, above
//! all when nats-server restarts. The client library's ordered consumer does not fit: if it is recreated before its
//! first message, it begins at the start of the stream.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Info;
use async_nats::jetstream::{self, Message};
use choreography::direct::is_unchanged;
use choreography::envelope::unix_millis;
use futures::StreamExt;
use poem_openapi::Enum;
use time::OffsetDateTime;
use tokio::time::{Interval, MissedTickBehavior};

use crate::parameter::EventId;

/// How long to wait before creating a consumer is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How often to check whether the client has reconnected, to a server without the consumer.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long the server keeps a consumer that has no pull requests.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(60);

/// The subscription of a follower.
#[derive(Debug, Clone)]
pub struct Follow {
    /// The program; the names of its consumers begin with it.
    pub program: &'static str,
    /// The stream.
    pub stream: &'static str,
    /// The filter subjects; empty for all.
    pub filter: Vec<String>,
    /// Whether to receive the headers only.
    pub headers_only: bool,
    /// How many messages are pulled at a time.
    pub batch: usize,
}

/// The next item of a followed stream.
#[allow(clippy::large_enum_variant, reason = "nearly all are messages, and one exists at a time")]
pub enum Followed {
    /// The next message.
    Message(FollowedMessage),
    /// Messages after the last one are missing: the position at which the follower continues, and why.
    Reset(EventId, ResetReason),
}

/// Why the feed has a gap after the last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "camelCase")]
pub enum ResetReason {
    /// The stream was deleted and created again, or returned to an earlier state; the feed continues with new events.
    Recreated,
    /// The stream no longer has the next events; the feed continues with the oldest one available.
    Expired,
}

/// A message with its position in the stream.
pub struct FollowedMessage {
    /// The message.
    pub message: Message,
    /// Its sequence in the stream, with the stream's generation.
    pub id: EventId,
    /// When the stream stored it.
    pub published: OffsetDateTime,
    /// How many messages follow it in the stream.
    pub pending: u64,
}

/// A follower of one stream.
pub struct StreamFollower {
    client: Client,
    js: jetstream::Context,
    follow: Follow,
    /// The last message; `None` for "only new messages" until there is one.
    last: Option<EventId>,
    /// When the last message was stored; `None` until one was received.
    stored: Option<OffsetDateTime>,
    /// Not yet returned by [`StreamFollower::next`].
    reset: Option<ResetReason>,
    consumer: Option<Consumer>,
    poll: Interval,
}

struct Consumer {
    messages: pull::Stream,
    generation: Option<u64>,
    /// The connection on which it was created.
    connection: u64,
    /// How many messages it has delivered.
    delivered: u64,
}

impl FollowedMessage {
    /// Returns a header; `None` if the message does not have it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        Some(self.message.headers.as_ref()?.get(name)?.as_str())
    }
}

impl StreamFollower {
    /// Begins after `last`, or with new messages.
    pub fn new(client: Client, js: jetstream::Context, follow: Follow, last: Option<EventId>) -> Self {
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { client, js, follow, last, stored: None, reset: None, consumer: None, poll }
    }

    /// Returns the next item, however long it takes. Not cancellation-safe.
    pub async fn next(&mut self) -> Followed {
        loop {
            if self.consumer.is_none()
                && let Err(error) = self.open().await
            {
                tracing::debug!(%error, stream = self.follow.stream, "a stream cannot be followed; trying again");
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            }
            if let (Some(last), Some(reset)) = (self.last, self.reset.take()) {
                return Followed::Reset(last, reset);
            }
            match self.pull().await {
                Some(followed) => {
                    (self.last, self.stored) = (Some(followed.id), Some(followed.published));
                    return Followed::Message(followed);
                }
                None => self.consumer = None,
            }
        }
    }

    /// Skips the stored messages, and continues with new ones.
    pub fn skip(&mut self) {
        self.consumer = None;
        (self.last, self.stored) = (None, None);
    }

    /// Creates a consumer that begins after the last message.
    ///
    /// # Errors
    ///
    /// If the server does not reply or refuses.
    pub(crate) async fn open(&mut self) -> anyhow::Result<()> {
        let connection = connects(&self.client);
        let stream = self.js.get_stream(self.follow.stream).await?;
        let (mut last, mut reset) = place(stream.cached_info(), self.last);
        if let Some(stored) = self.stored.filter(|_| reset.is_none())
            && !is_unchanged(&self.js, self.follow.stream, last.sequence, unix_millis(stored)).await?
        {
            last.sequence = stream.cached_info().state.last_sequence;
            reset = Some(ResetReason::Recreated);
        }
        if reset.is_some() {
            self.stored = None;
        }
        self.last = Some(last);
        self.reset = self.reset.or(reset);
        let config = pull::Config {
            // With a name, the subject of the create request contains the stream.
            name: Some(format!("{}-feed-{}", self.follow.program, uuid::Uuid::now_v7().simple())),
            filter_subjects: self.follow.filter.clone(),
            headers_only: self.follow.headers_only,
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: last.sequence + 1 },
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: INACTIVE_THRESHOLD,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await?;
        let heartbeat = Duration::from_secs(5);
        let pulling = consumer.stream().max_messages_per_batch(self.follow.batch).heartbeat(heartbeat);
        let messages = pulling.expires(Duration::from_secs(30)).messages().await?;
        self.consumer = Some(Consumer { messages, connection, generation: last.generation, delivered: 0 });
        Ok(())
    }

    /// Returns the next message; `None` if the consumer has ended.
    async fn pull(&mut self) -> Option<FollowedMessage> {
        let consumer = self.consumer.as_mut()?;
        let message = loop {
            tokio::select! {
                message = consumer.messages.next() => break message?,
                _ = self.poll.tick() => {
                    if connects(&self.client) != consumer.connection {
                        return None;
                    }
                }
            }
        };
        let message = message.inspect_err(|error| tracing::debug!(%error, "a consumer ended")).ok()?;
        let info = message.info().ok()?;
        // The server counts its deliveries to the consumer: a gap is a lost message.
        consumer.delivered += 1;
        if info.consumer_sequence != consumer.delivered {
            return None;
        }
        let id = EventId { generation: consumer.generation, sequence: info.stream_sequence };
        let (published, pending) = (info.published, info.pending);
        Some(FollowedMessage { id, published, pending, message })
    }
}

/// Returns the message after which to continue in a stream, and the reason if it is not `last`.
fn place(stream: &Info, last: Option<EventId>) -> (EventId, Option<ResetReason>) {
    let created = stream.created.unix_timestamp_nanos() / 1_000_000;
    let generation = u64::try_from(created).unwrap_or_default();
    let (first, end) = (stream.state.first_sequence, stream.state.last_sequence);
    let (sequence, reset) = match last {
        None => (end, None),
        // A sequence after the end is from a previous stream of that name.
        Some(last) if last.generation.is_some_and(|known| known != generation) || last.sequence > end => {
            (end, Some(ResetReason::Recreated))
        }
        Some(last) if last.sequence + 1 < first => (first - 1, Some(ResetReason::Expired)),
        Some(last) => (last.sequence, None),
    };
    (EventId { generation: Some(generation), sequence }, reset)
}

/// Returns the number of connections to nats-server so far.
fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}
