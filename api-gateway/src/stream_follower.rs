//! A stream, followed: message by message, through everything.
//!
//! It has an ephemeral consumer of its own, which is made again, right behind the last message, whenever it ends: with
//! a restart of nats-server above all. The client library has an ordered consumer for that, but one that is made again
//! before its first message begins at the start of the stream.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Info;
use async_nats::jetstream::{self, Message};
use futures::StreamExt;
use time::OffsetDateTime;
use tokio::time::{Interval, MissedTickBehavior};

use crate::parameter::EventId;

/// How long to wait before a consumer that cannot be made is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How often to look whether the connection to nats-server is another one, whose server forgot the consumer.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long the server remembers a consumer that nobody pulls from.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(60);

/// What to follow.
#[derive(Debug, Clone)]
pub(crate) struct Follow {
    /// The stream.
    pub(crate) stream: &'static str,
    /// The subjects; empty for all.
    pub(crate) filter: Vec<String>,
    /// Whether the bodies stay where they are.
    pub(crate) headers_only: bool,
    /// How many messages may be on their way at a time.
    pub(crate) batch: usize,
}

/// What a tail comes upon.
#[allow(clippy::large_enum_variant, reason = "nearly all are messages, and one exists at a time")]
pub(crate) enum Followed {
    /// The next message.
    Message(FollowedMessage),
    /// Messages after the last one are missing: here is where the tail goes on, and why.
    Reset(EventId, Reset),
}

/// Why a tail does not go on right after the last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// The stream was deleted and created again. It goes on with what comes from now on.
    Recreated,
    /// The stream has dropped messages that were not read. It goes on with the oldest that is there.
    Expired,
}

/// A message where it was found.
pub(crate) struct FollowedMessage {
    /// The message.
    pub(crate) message: Message,
    /// Its place in the stream, with the stream's generation.
    pub(crate) id: EventId,
    /// When the stream got it.
    pub(crate) published: OffsetDateTime,
    /// How many follow it already.
    pub(crate) pending: u64,
}

/// One reader's way through a stream.
pub(crate) struct StreamFollower {
    client: Client,
    js: jetstream::Context,
    follow: Follow,
    /// The message after which to go on; `None` for "from now on" until that is a message.
    last: Option<EventId>,
    /// Not yet returned by [`StreamFollower::next`].
    reset: Option<Reset>,
    consumer: Option<Consumer>,
    look: Interval,
}

struct Consumer {
    messages: pull::Stream,
    generation: Option<u64>,
    /// On which connection it was made.
    connection: u64,
    /// How many messages it has delivered.
    delivered: u64,
}

impl StreamFollower {
    /// Begins after a message, or with what comes from now on.
    pub(crate) fn new(client: Client, js: jetstream::Context, follow: Follow, last: Option<EventId>) -> Self {
        let mut look = tokio::time::interval(POLL_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { client, js, follow, last, reset: None, consumer: None, look }
    }

    /// Returns what is next, however long it takes. Not to be cancelled by a caller that wants to go on.
    pub(crate) async fn next(&mut self) -> Followed {
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
                    self.last = Some(followed.id);
                    return Followed::Message(followed);
                }
                None => self.consumer = None,
            }
        }
    }

    /// Leaves out what is there already, and goes on with what comes from now on.
    pub(crate) fn skip(&mut self) {
        self.consumer = None;
        self.last = None;
    }

    /// Makes a consumer of what follows the last message.
    ///
    /// # Errors
    ///
    /// Where the server does not answer or refuses.
    pub(crate) async fn open(&mut self) -> anyhow::Result<()> {
        let connection = connects(&self.client);
        let stream = self.js.get_stream(self.follow.stream).await?;
        let (last, reset) = place(stream.cached_info(), self.last);
        self.last = Some(last);
        self.reset = self.reset.or(reset);
        let config = pull::Config {
            // With a name, the subject of the request that makes the consumer says on which stream.
            name: Some(format!("api-gateway-feed-{}", uuid::Uuid::now_v7().simple())),
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

    /// Returns the next message; `None` where the consumer has ended.
    async fn pull(&mut self) -> Option<FollowedMessage> {
        let consumer = self.consumer.as_mut()?;
        let message = loop {
            tokio::select! {
                message = consumer.messages.next() => break message?,
                _ = self.look.tick() => {
                    if connects(&self.client) != consumer.connection {
                        return None;
                    }
                }
            }
        };
        let message = message.inspect_err(|error| tracing::debug!(%error, "a consumer ended")).ok()?;
        let info = message.info().ok()?;
        // The server counts what it sends to the consumer: a gap is a message that was lost on the way.
        consumer.delivered += 1;
        if info.consumer_sequence != consumer.delivered {
            return None;
        }
        let id = EventId { generation: consumer.generation, sequence: info.stream_sequence };
        let (published, pending) = (info.published, info.pending);
        Some(FollowedMessage { id, published, pending, message })
    }
}

/// Returns after which message of a stream to go on, and why that is not `last` where it is not.
fn place(stream: &Info, last: Option<EventId>) -> (EventId, Option<Reset>) {
    let created = stream.created.unix_timestamp_nanos() / 1_000_000;
    let generation = u64::try_from(created).unwrap_or_default();
    let (first, end) = (stream.state.first_sequence, stream.state.last_sequence);
    let (sequence, reset) = match last {
        None => (end, None),
        // Beyond the end is a sequence of another stream, which this one took the place of.
        Some(last) if last.generation.is_some_and(|known| known != generation) || last.sequence > end => {
            (end, Some(Reset::Recreated))
        }
        Some(last) if last.sequence + 1 < first => (first - 1, Some(Reset::Expired)),
        Some(last) => (last.sequence, None),
    };
    (EventId { generation: Some(generation), sequence }, reset)
}

/// Returns which connection to nats-server this is, counting from the first.
fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}
