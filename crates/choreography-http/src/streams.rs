//! The state of the streams, polled once a second: whether they exist, their durability, whether there is capacity for
//! the events that a further command causes, and lost messages.
//!
//! The streams of commands and of events are ring buffers. A command is accepted only if the unconsumed messages, and
//! those that may still follow from them, stay below the limit: so no unconsumed message is dropped. Near the limit,
//! requests get 503 and nothing of them is stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::{Info, Stream};
use async_nats::jetstream::{self, consumer};
use choreography::durability::{Durability, DurabilityOptions, TooWeak};
use choreography::metrics::{self, Gauges, figure};
use choreography::{Health, Topology, clock, dead_letter};
use futures::TryStreamExt;
use time::OffsetDateTime;
use tokio::sync::watch;

mod admission;
mod ledger;
mod stream;

use self::stream::{Followed, Taken};
use crate::publishing::Publishing;
pub(crate) use admission::Refusal;
use admission::{Admission, Load};

/// The component of [`Health`] for the existence of the streams, their consumers, and the bucket.
const STREAMS: &str = "streams";
/// The component for the durability of the streams.
const DURABILITY: &str = "durability";
/// The component with the reason why commands are refused.
const BACKPRESSURE: &str = "backpressure";
/// The component with warnings before something is full or dropped.
const CAPACITY: &str = "capacity";
/// The component with messages that were dropped unconsumed, until the gateway restarts.
const LOSS: &str = "loss";
/// How often to poll.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a poll may take: two that fail, and the pauses, stay below five seconds.
const POLL_TIMEOUT: Duration = Duration::from_millis(1250);
/// How long to wait before streams that could not be read are polled again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How many polls without a reply make the gateway unready.
const MAX_UNANSWERED: u32 = 2;
/// How many polls are between two checks of the sync interval: a server can restart with another one.
const POLLS_PER_PROBE: u64 = 30;
/// The percentage from which there is a warning about limits without admission control.
const WARN: u64 = 80;

/// The streams of a system, and their limits.
#[derive(Debug, Clone)]
pub struct Capacity {
    /// The declared streams and consumers.
    pub topology: Topology,
    /// The stream of commands, a ring buffer.
    pub commands: &'static str,
    /// The stream of events, a ring buffer.
    pub events: &'static str,
    /// The stream of deadlines.
    pub timers: &'static str,
    /// The longest possible deadline; an older message in the stream of deadlines is not a pending one.
    pub longest_deadline: Duration,
    /// The bucket of idempotency keys.
    pub bucket: &'static str,
    /// How many messages may wait for a service.
    pub max_backlog: u64,
    /// The maximum number of bytes of events per byte of a message that waits for a service, until its flow has ended.
    pub follow_up: fn(service: &str) -> u64,
    /// The same, per byte of a command.
    pub follow_up_of_commands: u64,
}

impl Capacity {
    /// Declares streams with the usual names, and a factor for the events that follow a message.
    #[must_use]
    pub fn new(topology: Topology, follow_up: fn(service: &str) -> u64, follow_up_of_commands: u64) -> Self {
        Self {
            topology,
            commands: "COMMANDS",
            events: "EVENTS",
            timers: "TIMERS",
            longest_deadline: Duration::from_secs(7 * 24 * 3600),
            bucket: "IDEMPOTENCY",
            max_backlog: 1_000_000,
            follow_up,
            follow_up_of_commands,
        }
    }

    /// Returns the stream of the bucket.
    fn keys(&self) -> String {
        format!("KV_{}", self.bucket)
    }
}

/// The latest known state.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// The durability of an acknowledged message.
    pub(crate) durability: Durability,
    /// Why commands are refused; `None` if they are accepted.
    pub(crate) at_capacity: Option<Refusal>,
    /// The bytes of commands that may be accepted until the next poll.
    pub(crate) budget: Arc<AtomicU64>,
    /// When the oldest idempotency key expires.
    pub(crate) key_expires: Option<OffsetDateTime>,
}

impl Default for Known {
    fn default() -> Self {
        let budget = Arc::new(AtomicU64::new(u64::MAX));
        Self { durability: Durability::UNSYNCED, at_capacity: None, budget, key_expires: None }
    }
}

impl Known {
    /// Reserves the bytes of a command from the budget until the next poll; false if it is exhausted.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// Why a poll failed.
enum Failed {
    /// The server reports an unexpected state.
    Refused(String),
    /// The server does not reply.
    Unanswered(String),
}

/// The result of a poll.
struct Polled {
    /// The ring buffers.
    infos: Vec<Info>,
    loads: BTreeMap<String, Load>,
    warnings: Vec<String>,
    key_expires: Option<OffsetDateTime>,
}

/// Polls the streams.
pub struct Streams {
    pub(crate) js: jetstream::Context,
    pub(crate) capacity: Capacity,
    options: DurabilityOptions,
    health: Health,
    pub(crate) known: watch::Sender<Known>,
    pub(crate) publishing: Arc<Publishing>,
}

/// The state between polls.
struct Memory {
    /// The durable consumers that must exist: stream and name.
    consumers: Vec<(String, String)>,
    followed: BTreeMap<&'static str, Followed>,
    admission: Admission,
    gauges: StreamGauges,
    warned: bool,
}

impl Streams {
    /// Polls the streams of `capacity`, and reports to `health`.
    #[must_use]
    pub fn new(js: jetstream::Context, capacity: Capacity, options: DurabilityOptions, health: Health) -> Self {
        let (known, publishing) = (watch::Sender::new(Known::default()), Arc::new(Publishing::new(health.clone())));
        Self { js, capacity, options, health, known, publishing }
    }

    /// Polls forever.
    ///
    /// # Errors
    ///
    /// If a stream is less durable than required.
    pub async fn watch(self) -> Result<(), TooWeak> {
        self.health.expect(STREAMS);
        let consumers = self.capacity.topology.consumers.iter();
        let consumers = consumers.map(|spec| (spec.stream.clone(), spec.name.clone()));
        let mut memory = Memory {
            consumers: consumers.collect(),
            followed: BTreeMap::new(),
            admission: Admission::default(),
            gauges: StreamGauges::new(),
            warned: false,
        };
        let (mut durability, mut unanswered) = (None, 0);
        for poll in 0_u64.. {
            let polled = tokio::time::timeout(POLL_TIMEOUT, self.poll(&mut memory)).await;
            match polled
                .unwrap_or_else(|_| Err(Failed::Unanswered("nats-server does not reply in time".to_owned())))
            {
                Ok(found) => {
                    if durability.is_none() || poll.is_multiple_of(POLLS_PER_PROBE) {
                        let probed = self.options.probe(&found.infos, durability).await;
                        match self.options.check(&probed) {
                            Ok(()) => self.health.note(DURABILITY, probed.to_string()),
                            Err(weak) if durability.is_none() => return Err(weak),
                            // Ending would not help; readiness reports it.
                            Err(weak) => self.health.failed(DURABILITY, weak.to_string()),
                        }
                        durability = Some(probed.durability);
                    }
                    unanswered = 0;
                    self.publishing.expire(Instant::now());
                    self.health.ok(STREAMS);
                    self.report(found, durability.unwrap_or(Durability::UNSYNCED), &mut memory);
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                // A single reply may be late.
                Err(Failed::Unanswered(why)) if durability.is_some() && unanswered + 1 < MAX_UNANSWERED => {
                    unanswered += 1;
                    tracing::debug!(why, "a poll of the streams failed");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Err(Failed::Unanswered(why) | Failed::Refused(why)) => {
                    self.health.failed(STREAMS, why);
                    self.health.note(BACKPRESSURE, "unknown while the streams cannot be read");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
        Ok(())
    }

    fn report(&self, polled: Polled, durability: Durability, memory: &mut Memory) {
        let budget = Arc::new(AtomicU64::new(self.budget(&polled.loads)));
        let at_capacity = memory.admission.decide(Instant::now(), polled.loads);
        match &at_capacity {
            Some(refusal) => self.health.note(BACKPRESSURE, format!("commands are refused: {}", refusal.why)),
            None => self.health.ok(BACKPRESSURE),
        }
        self.health.note(CAPACITY, polled.warnings.join("; "));
        if memory.warned == polled.warnings.is_empty() {
            memory.warned = !memory.warned;
            match memory.warned {
                true => tracing::warn!(warnings = %polled.warnings.join("; "), "a limit is near"),
                false => tracing::info!("all limits are distant again"),
            }
        }
        let losses: Vec<String> = memory.followed.values().flat_map(Followed::losses).collect();
        if !losses.is_empty() {
            self.health.note(LOSS, losses.join("; "));
        }
        let known = Known { durability, at_capacity, budget, key_expires: polled.key_expires };
        self.known.send_if_modified(|before| {
            if known.at_capacity.is_some() != before.at_capacity.is_some() {
                match &known.at_capacity {
                    Some(refusal) => {
                        tracing::warn!(
                            why = refusal.why,
                            retry_after = refusal.retry_after,
                            "commands are refused"
                        );
                    }
                    None => tracing::info!("commands are accepted again"),
                }
            }
            *before = known;
            true
        });
    }

    /// Measures everything that has a limit.
    async fn poll(&self, memory: &mut Memory) -> Result<Polled, Failed> {
        let mut polled =
            Polled { infos: Vec::new(), loads: BTreeMap::new(), warnings: Vec::new(), key_expires: None };
        let mut taken = BTreeMap::new();
        let Capacity { commands, events, timers, follow_up, .. } = self.capacity;
        for name in [commands, events, timers] {
            let (stream, consumers) = self.stream_and_consumers(name, &memory.consumers).await?;
            let info = stream.cached_info().clone();
            let followed = memory.followed.entry(name).or_default();
            taken.insert(name, followed.observe(&info, &consumers, follow_up));
            followed.read_ages(&stream, info.state.first_sequence).await;
            polled.warnings.extend(followed.too_old(info.config.max_age).map(|why| format!("{name}: {why}")));
            memory.gauges.set(&info, taken[name]);
            if name != timers {
                polled.loads.extend(self.backlogs(&consumers));
                polled.infos.push(info);
            } else if info.state.bytes > 0 {
                polled.loads.extend(self.deadlines(&info));
            }
        }
        polled.loads.extend(polled.infos.iter().filter_map(|info| self.ring_buffer(info, &taken)));
        for (name, load) in &polled.loads {
            if load.used > load.limit / 2 {
                polled.warnings.push(format!("{name}: {} ({} of {})", load.what, load.used, load.limit));
            }
        }
        let keys = self.capacity.keys();
        for name in [dead_letter::STREAM_NAME, &keys] {
            let stream = self.js.get_stream(name).await.map_err(|error| failed(name, &error))?;
            let info = stream.cached_info();
            memory.gauges.set(info, Taken::default());
            polled.warnings.extend(nearly_full(info, &keys));
            if name == keys && info.state.messages > 0 {
                polled.key_expires = Some(info.state.first_timestamp + info.config.max_age);
            }
        }
        Ok(polled)
    }

    /// Returns a stream and its declared consumers.
    async fn stream_and_consumers(
        &self,
        name: &str,
        declared: &[(String, String)],
    ) -> Result<(Stream, Vec<consumer::Info>), Failed> {
        let stream = self.js.get_stream(name).await.map_err(|error| failed(name, &error))?;
        let mut consumers: Vec<consumer::Info> =
            stream.consumers().try_collect().await.map_err(|error| failed(name, &error))?;
        let expected: Vec<&str> =
            declared.iter().filter(|(of, _)| of == name).map(|(_, name)| name.as_str()).collect();
        consumers.retain(|consumer| expected.contains(&consumer.name.as_str()));
        if let Some(missing) = expected.iter().find(|name| consumers.iter().all(|found| found.name != **name)) {
            let why = format!("the stream {name} has no consumer {missing}; run `provision`");
            return Err(Failed::Refused(why));
        }
        Ok((stream, consumers))
    }

    /// Returns each consumer's backlog, against the maximum.
    fn backlogs(&self, consumers: &[consumer::Info]) -> BTreeMap<String, Load> {
        let backlog = |info: &consumer::Info| {
            let what = format!("{} messages wait for {}", info.num_pending, info.name);
            // Admission closes above the limit, as the setting documents.
            let limit = self.capacity.max_backlog.saturating_add(1).saturating_mul(5) / 4;
            (format!("{} {}", info.stream_name, info.name), Load { what, used: info.num_pending, limit })
        };
        consumers.iter().map(backlog).collect()
    }

    /// Returns the load of a ring buffer: the unconsumed bytes, and for events those that may follow from all messages.
    fn ring_buffer(&self, info: &Info, taken: &BTreeMap<&str, Taken>) -> Option<(String, Load)> {
        let limit = max_bytes(info)?;
        let name = info.config.name.as_str();
        let unconsumed = taken.get(name)?.unconsumed;
        let follow_up = match name == self.capacity.events {
            true => taken.values().map(|taken| taken.follow_up).fold(0, u64::saturating_add),
            false => 0,
        };
        let what = format!("the stream {name} has {unconsumed} unconsumed bytes, and up to {follow_up} may follow");
        Some((name.to_owned(), Load { what, used: unconsumed.saturating_add(follow_up), limit }))
    }

    /// Returns how many bytes of commands may come until a stream closes, if each causes as many events as it can.
    fn budget(&self, loads: &BTreeMap<String, Load>) -> u64 {
        let until_closed = |name: &str| loads.get(name).map_or(u64::MAX, Load::until_closed);
        let events = until_closed(self.capacity.events) / self.capacity.follow_up_of_commands.max(1);
        until_closed(self.capacity.commands).min(events)
    }

    /// Returns the load of the stream of deadlines: all of it, while its oldest message can be a pending one.
    fn deadlines(&self, info: &Info) -> Option<(String, Load)> {
        let (name, limit) = (&info.config.name, max_bytes(info)?);
        let age = clock::now() - info.state.first_timestamp;
        let what = format!("the stream {name} has {} bytes of deadlines", info.state.bytes);
        (age < self.capacity.longest_deadline).then(|| (name.clone(), Load { what, used: info.state.bytes, limit }))
    }
}

/// Returns the limit of a stream; `None` if it has none.
fn max_bytes(info: &Info) -> Option<u64> {
    u64::try_from(info.config.max_bytes).ok().filter(|limit| *limit > 0)
}

/// Distinguishes a refusal from a missing reply.
fn failed(name: &str, error: &(impl std::error::Error + 'static)) -> Failed {
    let why = format!("the stream {name}: {error}");
    let is_refusal = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
        .any(|error| error.is::<jetstream::Error>())
        || why.contains("not found");
    if is_refusal { Failed::Refused(why) } else { Failed::Unanswered(why) }
}

/// Warns before a stream that refuses new messages is full.
fn nearly_full(info: &Info, keys: &str) -> Option<String> {
    let share = info.state.bytes.saturating_mul(100) / max_bytes(info)?;
    let consequence = match info.config.name == keys {
        true => "at its limit requests with an Idempotency-Key get 503 until entries expire",
        false => "at its limit dead letters wait in the outboxes; redrive or delete some",
    };
    let name = info.config.name.strip_prefix("KV_").unwrap_or(&info.config.name);
    (share >= WARN).then(|| format!("{name} is {share} % full: {consequence}"))
}

/// The gauges per stream.
struct StreamGauges {
    bytes: Gauges,
    max_bytes: Gauges,
    unconsumed: Gauges,
    follow_up: Gauges,
}

impl StreamGauges {
    fn new() -> Self {
        static ONCE: std::sync::LazyLock<[Gauges; 4]> = std::sync::LazyLock::new(|| {
            [
                metrics::gauges("messaging_stream_bytes", "Bytes in a stream"),
                metrics::gauges("messaging_stream_max_bytes", "Maximum bytes of a stream"),
                metrics::gauges(
                    "messaging_stream_unconsumed_bytes",
                    "Bytes that at least one consumer has not consumed",
                ),
                metrics::gauges("messaging_stream_follow_up_bytes", "Maximum bytes of events that may follow"),
            ]
        });
        let [bytes, max_bytes, unconsumed, follow_up] = ONCE.clone();
        Self { bytes, max_bytes, unconsumed, follow_up }
    }

    fn set(&self, info: &Info, taken: Taken) {
        let labels = vec![("stream", info.config.name.clone())];
        let set = |gauges: &Gauges, value: u64| {
            gauges.get_or_create(&labels).set(figure(value));
        };
        set(&self.bytes, info.state.bytes);
        set(&self.max_bytes, max_bytes(info).unwrap_or(0));
        set(&self.unconsumed, taken.unconsumed);
        set(&self.follow_up, taken.follow_up);
    }
}
