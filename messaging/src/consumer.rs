//! Pulling: from a durable consumer into a bounded queue, with a watchdog on progress.
//!
//! A pull that hangs after a restart or a leader change looks healthy and is silent. So the watchdog asks the server
//! for the messages that are pending, and where there are some and none has arrived for a while, the process turns
//! unready and the pull is built again.
//!
//! It also compares the consumer's position with the stream's first message: a gap means that messages were discarded
//! before this service consumed them. Readiness keeps saying so until the process is started again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::{MessagesErrorKind, Stream};
use async_nats::jetstream::{self, AckKind};
use futures::StreamExt;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics;
use crate::position::{self, Losses, Observed, Position};
use crate::republish::REPUBLISHED;

/// Messages asked for at a time; the client holds up to one and a half times as many, while their ack-wait runs. A handler that
/// does not get to them in time finds them twice, and its inbox drops the second ones (ADR 23).
const PULL: usize = 256;
/// How long a pull request stands.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that the pull is alive; twice as long without a word ends it.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often the watchdog looks.
const WATCH: Duration = Duration::from_secs(5);
/// How long the watchdog waits for the server.
const WATCH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long messages may be pending without one arriving. It bounds what the client loses after a reconnect: it may count the
/// messages of an earlier pull as still to come, and ask for no more (ADR 23).
const STALLED: Duration = Duration::from_secs(15);
/// How long to wait before a pull is built again.
const REBUILD: Duration = Duration::from_millis(500);

/// One delivery of one message.
pub(crate) struct Delivery {
    pub(crate) message: jetstream::Message,
    pub(crate) stream: String,
    pub(crate) sequence: u64,
    /// When the stream stored it, by the server's clock.
    pub(crate) stored: OffsetDateTime,
    /// What the consumer was when it delivered this.
    incarnation: Incarnation,
}

/// Which of the consumers of one name it is.
///
/// A stream that was lost is made again, and its consumers with it, under the same names. A consumer knows a delivery by
/// its sequence in the stream alone: what settles one of the old consumer's would settle whatever message has that
/// sequence now, and take it away unhandled.
#[derive(Clone, Default)]
pub(crate) struct Incarnation {
    number: u64,
    current: Arc<AtomicU64>,
    /// The consumer's own count of its deliveries at the last one.
    counted: u64,
}

impl Incarnation {
    /// Says that what was delivered so far may have been another consumer's.
    fn renew(&mut self) {
        self.number = self.current.fetch_add(1, Ordering::Relaxed) + 1;
    }

    /// Returns whose a delivery is, by the consumer's count. A consumer counts up: where it does not, it is another one, or
    /// what it was a while ago.
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
    /// Reads the place of a message from its reply subject; gives the message back if there is none.
    fn new(message: jetstream::Message, incarnation: &mut Incarnation) -> Result<Self, Box<jetstream::Message>> {
        let (stream, sequence, count, stored) = match message.info() {
            Ok(info) => (info.stream.to_owned(), info.stream_sequence, info.consumer_sequence, info.published),
            Err(_) => return Err(Box::new(message)),
        };
        Ok(Self { message, stream, sequence, stored, incarnation: incarnation.of(count) })
    }

    /// Returns whether a stream restore has published the message again.
    pub(crate) fn is_republished(&self) -> bool {
        self.message.headers.as_ref().is_some_and(|headers| headers.get(REPUBLISHED).is_some())
    }

    /// Settles the delivery: ack, nak, or term. What goes wrong here, or is not for the consumer that there is now, is
    /// repaired by redelivery and the inbox.
    pub(crate) async fn settle(&self, kind: AckKind) {
        if self.incarnation.is_over() {
            tracing::debug!(stream = %self.stream, sequence = self.sequence, "the consumer may be another one by now");
            return;
        }
        if let Err(error) = self.message.ack_with(kind).await {
            tracing::debug!(stream = %self.stream, sequence = self.sequence, %error, "could not settle a delivery");
        }
    }
}

/// What is known of one consumer from look to look.
#[derive(Default)]
struct Followed {
    position: Position,
    losses: Losses,
}

/// Pulls from one durable consumer until shutdown.
pub(crate) struct Puller {
    pub(crate) js: jetstream::Context,
    pub(crate) stream: &'static str,
    pub(crate) consumer: String,
    pub(crate) queue: mpsc::Sender<Delivery>,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
    /// Deliveries taken over by the processor from this consumer.
    pub(crate) arrived: Arc<AtomicU64>,
}

impl Puller {
    /// The part of [`Health`] for the consumer of a stream.
    pub(crate) fn part(stream: &str) -> String {
        format!("consumer/{stream}")
    }

    pub(crate) async fn run(self) {
        let part = Self::part(self.stream);
        let (mut incarnation, mut followed) = (Incarnation::default(), Followed::default());
        while !self.shutdown.is_cancelled() {
            match self.open(&mut followed).await {
                Ok((consumer, messages)) => {
                    self.health.ok(&part);
                    incarnation.renew();
                    self.pull(consumer, messages, &mut incarnation, &mut followed).await;
                }
                Err(error) => self.health.failed(&part, format!("cannot pull: {error:#}")),
            }
            tokio::select! {
                () = tokio::time::sleep(REBUILD) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
    }

    async fn open(&self, followed: &mut Followed) -> anyhow::Result<(PullConsumer, Stream)> {
        // Before the first message is delivered: the consumer's position passes over what was discarded.
        let info = self.js.get_stream(self.stream).await?.cached_info().clone();
        let consumer: PullConsumer =
            self.js.get_consumer_from_stream(self.consumer.as_str(), self.stream).await.map_err(|error| {
                anyhow::anyhow!("consumer {} of stream {}: {error}", self.consumer, self.stream)
            })?;
        self.report_loss(followed, Observed::of(&info, consumer.cached_info()));
        let messages =
            consumer.stream().max_messages_per_batch(PULL).expires(EXPIRES).heartbeat(HEARTBEAT).messages().await?;
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
        let part = &Self::part(self.stream);
        let mut watch = tokio::time::interval_at(Instant::now() + WATCH, WATCH);
        watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = self.arrived.load(Ordering::Relaxed);
        let mut progress = Instant::now();
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                next = messages.next() => match next {
                    Some(Ok(message)) => if !self.hand_over(message, incarnation).await { return },
                    Some(Err(error)) => {
                        tracing::warn!(stream = self.stream, %error, "the pull reports an error");
                        if !matches!(error.kind(), MessagesErrorKind::MissingHeartbeat) {
                            return;
                        }
                    }
                    None => return,
                },
                _ = watch.tick() => {
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

    /// Queues a delivery, waiting for room; returns false at shutdown.
    async fn hand_over(&self, message: jetstream::Message, incarnation: &mut Incarnation) -> bool {
        let delivery = match Delivery::new(message, incarnation) {
            Ok(delivery) => delivery,
            Err(message) => {
                tracing::error!(
                    stream = self.stream,
                    subject = %message.subject,
                    reply = ?message.reply,
                    "a delivery without stream and sequence is terminated; report the version of nats-server"
                );
                if let Err(error) = message.ack_with(AckKind::Term).await {
                    tracing::debug!(stream = self.stream, %error, "could not settle a delivery");
                }
                return true;
            }
        };
        self.arrived.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            sent = self.queue.send(delivery) => sent.is_ok(),
            // What waits here or in the client's buffer is delivered again after its ack-wait.
            () = self.shutdown.cancelled() => false,
        }
    }

    /// Compares the consumer's position with what the stream still holds, and reports what was discarded in between.
    async fn find_loss(&self, consumer: &mut PullConsumer, followed: &mut Followed) {
        let look = async {
            // The stream first: what is consumed afterwards must not look like a gap.
            let stream = self.js.get_stream(self.stream).await?;
            let info = consumer.info().await?;
            anyhow::Ok(Observed::of(stream.cached_info(), info))
        };
        // A server that does not answer shows in the consumer's own part of readiness.
        if let Ok(Ok(observed)) = tokio::time::timeout(WATCH_TIMEOUT, look).await {
            self.report_loss(followed, observed);
        }
    }

    fn report_loss(&self, followed: &mut Followed, observed: Observed) {
        let Some(loss) = followed.position.observe(observed) else { return };
        metrics::lost(self.stream, &self.consumer, &loss);
        let (first, last) = loss.sequences;
        if followed.losses.add(&self.consumer, &loss) {
            tracing::error!(
                stream = self.stream,
                consumer = %self.consumer,
                first,
                last,
                messages = loss.messages,
                possible = loss.possible,
                remedy = position::REMEDY,
                "the stream discarded messages that this service may not have consumed"
            );
        }
        let losses: Vec<String> = followed.losses.texts().collect();
        self.health.note(&format!("loss {}", self.stream), losses.join("; "));
    }

    /// Nothing has arrived since the last look. Returns whether that is because the pull hangs.
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
                self.health.failed(part, format!("the server does not tell what is pending: {error}"));
                false
            }
        }
    }
}
