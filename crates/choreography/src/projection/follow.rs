//! The consumer of a projection: it delivers the messages after a position, in order and without a hole.
//!
//! The position in the database decides what comes next. So the consumer is created anew at each start, after that
//! position, and needs no acknowledgements. A delivery that does not follow the one before ends it, and the next start
//! creates it again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::pull::{self, Stream};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::{self, stream};
use futures::StreamExt;
use futures::stream::ReadyChunks;
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::broker::direct;
use crate::projection::progress::Position;
use crate::projection::stop::Stop;
use crate::wire::envelope::unix_millis;

/// The lifetime of a pull request.
const EXPIRES: Duration = Duration::from_secs(30);
/// The interval of the server's heartbeats; after two missed ones the consumer is created again.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The time limit of a request to the server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The stream that a projection reads.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    pub(crate) js: jetstream::Context,
    pub(crate) stream: String,
    pub(crate) consumer: String,
    pub(crate) filters: Vec<String>,
    /// Messages per pull request.
    pub(crate) pull: usize,
}

/// A stream at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// When it was created, in nanoseconds since 1970: a recreated stream counts from 1 again.
    pub(crate) generation: i64,
    /// The sequence before its first message.
    pub(crate) start: u64,
    /// Its last message, which it may have deleted.
    pub(crate) last: Position,
}

impl Found {
    fn of(info: &stream::Info) -> Self {
        Self {
            generation: i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(i64::MAX),
            start: info.state.first_sequence.max(1) - 1,
            last: Position {
                sequence: info.state.last_sequence,
                stored_at: unix_millis(info.state.last_timestamp),
            },
        }
    }
}

/// A delivery.
pub(crate) struct Delivered {
    pub(crate) message: jetstream::Message,
    pub(crate) sequence: u64,
    pub(crate) stored: OffsetDateTime,
}

impl Delivered {
    pub(crate) fn position(&self) -> Position {
        Position { sequence: self.sequence, stored_at: unix_millis(self.stored) }
    }
}

/// Messages after a position.
pub(crate) struct Following {
    client: Client,
    /// The connection on which the stream was found to continue at the position.
    connection: u64,
    consumer: PullConsumer,
    messages: ReadyChunks<Stream>,
    /// The number of deliveries of this consumer.
    delivered: u64,
}

impl Feed {
    /// Reads the state of the stream.
    pub(crate) async fn find(&self) -> Result<Found, Stop> {
        let stream = timeout(REQUEST_TIMEOUT, self.js.get_stream(&self.stream)).await;
        let unavailable = |why: String| Stop::Outage(format!("stream {} is unavailable: {why}", self.stream));
        let stream = stream.map_err(|_| unavailable("no response".to_owned()))?;
        Ok(Found::of(stream.map_err(|error| unavailable(error.to_string()))?.cached_info()))
    }

    /// Returns the number of connections to nats-server so far.
    pub(crate) fn connection(&self) -> u64 {
        connects(&self.js.client())
    }

    /// Returns whether the stream goes on from a position: it has not returned to an earlier state since then. If it has
    /// deleted the message at the position, that is unknown, and assumed.
    pub(crate) async fn continues(&self, found: Found, position: Position) -> Result<bool, Stop> {
        if position.sequence > found.last.sequence {
            return Ok(false);
        }
        if position.stored_at == 0 || position.sequence <= found.start {
            return Ok(true);
        }
        let unavailable = |why: String| Stop::Outage(format!("the message at the position cannot be read: {why}"));
        let looking = direct::is_unchanged(&self.js, &self.stream, position.sequence, position.stored_at);
        let is_unchanged = timeout(REQUEST_TIMEOUT, looking).await;
        let is_unchanged = is_unchanged.map_err(|_| unavailable("no response".to_owned()))?;
        is_unchanged.map_err(|error| unavailable(format!("{error:#}")))
    }

    /// Creates the consumer after a position, at most `max_batch` messages at a time. The position was checked on this
    /// connection.
    pub(crate) async fn follow(&self, connection: u64, position: u64, max_batch: usize) -> Result<Following, Stop> {
        let unavailable = |error: String| {
            Stop::Outage(format!("consumer {} of stream {} cannot be created: {error}", self.consumer, self.stream))
        };
        let opening = async {
            self.delete().await;
            let consumer: PullConsumer =
                self.js.create_consumer_on_stream(self.config(position), self.stream.as_str()).await?;
            let messages = consumer
                .stream()
                .max_messages_per_batch(self.pull)
                .expires(EXPIRES)
                .heartbeat(HEARTBEAT)
                .messages();
            let messages = messages.await?;
            let messages = messages.ready_chunks(max_batch);
            let client = self.js.client();
            anyhow::Ok(Following { client, connection, consumer, messages, delivered: 0 })
        };
        let opened =
            timeout(2 * REQUEST_TIMEOUT, opening).await.map_err(|_| unavailable("no response".to_owned()))?;
        opened.map_err(|error| unavailable(format!("{error:#}")))
    }

    /// Deletes the consumer, if there is one; errors show when it is created.
    pub(crate) async fn delete(&self) {
        let deleting = self.js.delete_consumer_from_stream(&self.consumer, &self.stream);
        drop(timeout(REQUEST_TIMEOUT, deleting).await);
    }

    fn config(&self, position: u64) -> pull::Config {
        pull::Config {
            durable_name: Some(self.consumer.clone()),
            description: Some("a projection; created again at each start".to_owned()),
            filter_subjects: self.filters.clone(),
            ack_policy: AckPolicy::None,
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: position + 1 },
            max_deliver: 1,
            ..Default::default()
        }
    }
}

impl Following {
    /// Waits for the next messages.
    pub(crate) async fn next(&mut self) -> Result<Vec<Delivered>, Stop> {
        let Some(chunk) = self.messages.next().await else {
            return Err(Stop::Outage("the pull has ended".to_owned()));
        };
        self.check_connection()?;
        let mut deliveries = Vec::with_capacity(chunk.len());
        for message in chunk {
            let message = match message {
                Ok(message) => message,
                // What arrived before the error is applied first. A hole after it shows by the numbers.
                Err(_) if !deliveries.is_empty() => break,
                Err(error) => return Err(Stop::Outage(format!("the pull reports an error: {error}"))),
            };
            let (sequence, stored, number) = match message.info() {
                Ok(info) => (info.stream_sequence, info.published, info.consumer_sequence),
                Err(error) => return Err(Stop::Outage(format!("a delivery has no sequence: {error}"))),
            };
            if number != self.delivered + 1 {
                return Err(Stop::Outage(format!("delivery {number} follows delivery {}", self.delivered)));
            }
            self.delivered = number;
            deliveries.push(Delivered { message, sequence, stored });
        }
        Ok(deliveries)
    }

    /// Checks that nats-server has not been connected again: it may have restarted with an older state of the stream, and
    /// that of its consumers.
    fn check_connection(&self) -> Result<(), Stop> {
        if connects(&self.client) == self.connection { Ok(()) } else { Err(Stop::Fenced) }
    }

    /// Returns the number of messages that are not received yet.
    pub(crate) async fn pending(&mut self) -> Result<u64, Stop> {
        self.check_connection()?;
        let unavailable = |why: String| Stop::Outage(format!("the lag of the consumer is unknown: {why}"));
        let info = timeout(REQUEST_TIMEOUT, self.consumer.info()).await;
        let info = info.map_err(|_| unavailable("no response".to_owned()))?;
        let info = info.map_err(|error| unavailable(error.to_string()))?;
        Ok(info.num_pending + info.delivered.consumer_sequence.saturating_sub(self.delivered))
    }
}

/// Returns the number of connections to nats-server so far.
fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}
