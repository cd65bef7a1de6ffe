//! Pulls messages from a durable consumer into a bounded queue, with a watchdog on progress.
//!
//! A pull that hangs after a restart or a leader change looks healthy. So the watchdog asks the server for the number
//! of pending messages. If messages are pending and none has arrived for a while, the process becomes unready and the
//! pull is recreated.
//!
//! The watchdog also compares the consumer's position with the stream's first message: a gap means that the stream
//! deleted messages before this service consumed them. Readiness reports the loss until the process restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::{MessagesErrorKind, Stream};
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{self, AckKind};
use futures::StreamExt;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::inbound::position::{self, Losses, Observed, Position};
use crate::telemetry::health::Health;
use crate::telemetry::metrics;
use crate::wire::envelope::REPUBLISHED;

/// The lifetime of a pull request.
const EXPIRES: Duration = Duration::from_secs(30);
/// The interval of the server's heartbeats; after two missed ones the client reports an error.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The interval of the watchdog.
const WATCH: Duration = Duration::from_secs(5);
/// How long the watchdog waits for the server.
const WATCH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long messages may be pending without an arrival. It bounds the delay after a reconnect: the client may still
/// expect the messages of an earlier pull, and request no more (ADR 23).
const STALLED: Duration = Duration::from_secs(15);
/// How long no heartbeat may be missed until the outage counts as over.
const HEARTBEAT_RECOVERY: Duration = Duration::from_secs(30);
/// The delay before a pull is recreated.
const REBUILD: Duration = Duration::from_millis(500);

/// One delivery of one message.
pub(crate) struct Delivery {
    pub(crate) message: Message,
    /// Settles it with the server; `None` without a broker.
    acker: Option<Acker>,
    pub(crate) stream: String,
    pub(crate) sequence: u64,
    /// When the stream stored it, by the server's clock.
    pub(crate) stored: OffsetDateTime,
    /// The number of its deliveries so far, this one included.
    pub(crate) attempts: u64,
    /// The consumer that delivered it.
    incarnation: Incarnation,
}

/// Identifies one of several consumers that have had the same name.
///
/// A stream that was lost is recreated under the same name, and so are its consumers. A consumer identifies a delivery
/// by its stream sequence alone. An ack for a delivery of the old consumer would settle the message that has that
/// sequence now, and that message would never be handled.
#[derive(Clone, Default)]
pub(crate) struct Incarnation {
    number: u64,
    current: Arc<AtomicU64>,
    /// The consumer's own delivery count at its last delivery.
    counted: u64,
}

impl Incarnation {
    /// Records that earlier deliveries may come from another consumer.
    fn renew(&mut self) {
        self.number = self.current.fetch_add(1, Ordering::Relaxed) + 1;
    }

    /// Returns the incarnation of a delivery, by the consumer's delivery count. The count only grows; if it does not,
    /// the consumer was recreated or restored to an earlier state.
    fn of(&mut self, count: u64) -> Self {
        if count <= std::mem::replace(&mut self.counted, count) {
            self.renew();
        }
        self.clone()
    }

    fn is_over(&self) -> bool {
        self.number != self.current.load(Ordering::Relaxed)
    }
}

impl Delivery {
    /// Reads the stream and sequence of a message from its reply subject; returns the message itself if there are none.
    fn new(message: jetstream::Message, incarnation: &mut Incarnation) -> Result<Self, Box<jetstream::Message>> {
        let Ok(info) = message.info() else { return Err(Box::new(message)) };
        let (stream, sequence, stored) = (info.stream.to_owned(), info.stream_sequence, info.published);
        let (incarnation, attempts) =
            (incarnation.of(info.consumer_sequence), u64::try_from(info.delivered).unwrap_or(1));
        let (message, acker) = message.split();
        Ok(Self { message, acker: Some(acker), stream, sequence, stored, attempts, incarnation })
    }

    /// Creates a delivery without a broker; settling it has no effect.
    pub(crate) fn without_broker(message: Message, stream: &str, sequence: u64, stored: OffsetDateTime) -> Self {
        Self {
            message,
            acker: None,
            stream: stream.to_owned(),
            sequence,
            stored,
            attempts: 1,
            incarnation: Incarnation::default(),
        }
    }

    /// Returns whether a stream restore has published the message again.
    pub(crate) fn is_republished(&self) -> bool {
        self.message.headers.as_ref().is_some_and(|headers| headers.get(REPUBLISHED).is_some())
    }

    /// Settles the delivery: ack, nak, or term. If this fails, or if the consumer has been recreated, redelivery and
    /// the inbox repair it.
    pub(crate) async fn settle(&self, kind: AckKind) {
        if self.incarnation.is_over() {
            tracing::debug!(stream = %self.stream, sequence = self.sequence, "a delivery of an old consumer is not settled");
            return;
        }
        let Some(acker) = &self.acker else { return };
        if let Err(error) = acker.ack_with(kind).await {
            tracing::debug!(stream = %self.stream, sequence = self.sequence, %error, "could not settle a delivery");
        }
    }
}

/// The watchdog's state for one consumer.
#[derive(Default)]
struct Followed {
    position: Position,
    losses: Losses,
    /// When the last heartbeat was missed.
    missed_heartbeat: Option<Instant>,
}

impl Followed {
    /// Records a missed heartbeat, and logs the first one of an outage.
    fn heartbeat_missed(&mut self, stream: &str) {
        if self.missed_heartbeat.replace(Instant::now()).is_none() {
            tracing::warn!(
                stream,
                "nats-server sends no heartbeats for the pull; without a leader it delivers nothing"
            );
        }
    }

    /// Logs the end of an outage of heartbeats.
    fn check_heartbeats(&mut self, stream: &str) {
        if self.missed_heartbeat.is_some_and(|missed| missed.elapsed() > HEARTBEAT_RECOVERY) {
            self.missed_heartbeat = None;
            tracing::info!(stream, "heartbeats for the pull arrive again");
        }
    }
}

/// Pulls from one durable consumer until shutdown.
pub(crate) struct Puller {
    pub(crate) js: jetstream::Context,
    pub(crate) stream: String,
    pub(crate) consumer: String,
    /// Messages per pull request (ADR 23).
    pub(crate) pull: usize,
    pub(crate) queue: mpsc::Sender<Delivery>,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
    /// Deliveries that have arrived from this consumer.
    pub(crate) arrived: Arc<AtomicU64>,
}

impl Puller {
    /// The [`Health`] part for the consumer of a stream.
    pub(crate) fn part(stream: &str) -> String {
        format!("consumer/{stream}")
    }

    pub(crate) async fn run(self) {
        let part = Self::part(&self.stream);
        let (mut incarnation, mut followed) = (Incarnation::default(), Followed::default());
        // Readiness logs a part that stops to work, and not one that never worked.
        let mut is_logged = false;
        while !self.shutdown.is_cancelled() {
            match self.open(&mut followed).await {
                Ok((consumer, messages)) => {
                    is_logged = true;
                    self.health.ok(&part);
                    incarnation.renew();
                    self.pull(consumer, messages, &mut incarnation, &mut followed).await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_logged, true) {
                        tracing::warn!(stream = %self.stream, consumer = %self.consumer, error = %format!("{error:#}"),
                            "the service cannot pull and consumes nothing; provision its topology if the consumer is missing");
                    }
                    self.health.failed(&part, format!("cannot pull: {error:#}"));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(REBUILD) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
    }

    async fn open(&self, followed: &mut Followed) -> anyhow::Result<(PullConsumer, Stream)> {
        // Before the first message is delivered: the consumer's position moves past deleted messages.
        let info = self.js.get_stream(&self.stream).await?.cached_info().clone();
        let consumer: PullConsumer =
            self.js.get_consumer_from_stream(self.consumer.as_str(), self.stream.as_str()).await.map_err(
                |error| anyhow::anyhow!("consumer {} of stream {}: {error}", self.consumer, self.stream),
            )?;
        self.report_loss(followed, Observed::of(&info, consumer.cached_info()));
        let messages = consumer
            .stream()
            .max_messages_per_batch(self.pull)
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await?;
        Ok((consumer, messages))
    }

    /// Pulls until shutdown, a terminal error, or a stall.
    async fn pull(
        &self,
        mut consumer: PullConsumer,
        mut messages: Stream,
        incarnation: &mut Incarnation,
        followed: &mut Followed,
    ) {
        let part = &Self::part(&self.stream);
        let mut watch = tokio::time::interval_at(Instant::now() + WATCH, WATCH);
        watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = self.arrived.load(Ordering::Relaxed);
        let mut progress = Instant::now();
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                next = messages.next() => match next {
                    Some(Ok(message)) => if !self.hand_over(message, incarnation).await { return },
                    Some(Err(error)) if matches!(error.kind(), MessagesErrorKind::MissingHeartbeat) => {
                        followed.heartbeat_missed(&self.stream);
                    }
                    Some(Err(error)) => {
                        tracing::warn!(stream = %self.stream, %error, "the pull reports an error");
                        return;
                    }
                    None => return,
                },
                _ = watch.tick() => {
                    followed.check_heartbeats(&self.stream);
                    self.find_loss(&mut consumer, followed).await;
                    let arrived = self.arrived.load(Ordering::Relaxed);
                    if arrived != seen {
                        (seen, progress) = (arrived, Instant::now());
                        self.health.ok(part);
                    } else if self.is_stalled(&mut consumer, &mut progress, part).await {
                        return;
                    }
                }
            }
        }
    }

    /// Queues a delivery, waiting for capacity; returns false at shutdown.
    async fn hand_over(&self, message: jetstream::Message, incarnation: &mut Incarnation) -> bool {
        let delivery = match Delivery::new(message, incarnation) {
            Ok(delivery) => delivery,
            Err(message) => {
                tracing::error!(
                    stream = %self.stream,
                    subject = %message.subject,
                    reply = ?message.reply,
                    "a delivery without stream and sequence is terminated; report the version of nats-server"
                );
                if let Err(error) = message.ack_with(AckKind::Term).await {
                    tracing::debug!(stream = %self.stream, %error, "could not settle a delivery");
                }
                return true;
            }
        };
        self.arrived.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            sent = self.queue.send(delivery) => sent.is_ok(),
            // Messages that wait here or in the client's buffer are delivered again after their ack-wait.
            () = self.shutdown.cancelled() => false,
        }
    }

    /// Compares the consumer's position with the messages that the stream still has, and reports a loss.
    async fn find_loss(&self, consumer: &mut PullConsumer, followed: &mut Followed) {
        let reading = async {
            // The stream first: messages consumed after that must not look like a gap.
            let stream = self.js.get_stream(&self.stream).await?;
            let info = consumer.info().await?;
            anyhow::Ok(Observed::of(stream.cached_info(), info))
        };
        // The consumer's own part of readiness reports a server that does not reply.
        if let Ok(Ok(observed)) = tokio::time::timeout(WATCH_TIMEOUT, reading).await {
            self.report_loss(followed, observed);
        }
    }

    fn report_loss(&self, followed: &mut Followed, observed: Observed) {
        if let Some(last) = followed.position.discarded_start(&observed) {
            let note = format!(
                "{} discarded its messages up to sequence {last} before this new consumer: the service does not process \
                 them",
                self.stream
            );
            tracing::warn!(stream = %self.stream, consumer = %self.consumer, last, "{note}");
            self.health.note(&format!("start/{}", self.stream), note);
        }
        let Some(loss) = followed.position.observe(observed) else { return };
        metrics::lost(&self.stream, &self.consumer, loss.messages, loss.possible);
        let (first, last) = loss.sequences;
        if followed.losses.add(&self.consumer, &loss) {
            tracing::error!(
                stream = %self.stream,
                consumer = %self.consumer,
                first,
                last,
                messages = loss.messages,
                possible = loss.possible,
                remedy = position::REMEDY,
                "the stream deleted messages that this service may not have consumed"
            );
        }
        let losses: Vec<String> = followed.losses.texts().collect();
        self.health.note(&format!("loss/{}", self.stream), losses.join("; "));
    }

    /// Returns whether the pull hangs, given that nothing has arrived since the last check.
    async fn is_stalled(&self, consumer: &mut PullConsumer, progress: &mut Instant, part: &str) -> bool {
        match consumer.info().await.map(|info| info.num_pending) {
            Ok(0) => {
                *progress = Instant::now();
                self.health.ok(part);
                false
            }
            Ok(pending) if progress.elapsed() > STALLED => {
                let seconds = progress.elapsed().as_secs();
                self.health
                    .failed(part, format!("{pending} messages pending and none has arrived for {seconds} s"));
                true
            }
            Ok(_) => false,
            Err(error) => {
                self.health.failed(part, format!("the number of pending messages is unknown: {error}"));
                false
            }
        }
    }
}
