//! What the gateway knows of the streams, looked at once a second: whether they are there, what an acknowledgement of
//! theirs is worth, and whether there is room for what a further command leads to.
//!
//! A command that is accepted will be carried out, so none is accepted that could not be: while a stream is nearly full
//! or a service is far behind, requests are answered 503 and nothing of them is stored. What is under way finds the
//! room that was left for it.

use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use contracts::topology::{COMMANDS, EVENTS, IDEMPOTENCY};
use futures::TryStreamExt;
use messaging::Health;
use messaging::durability::{Durability, DurabilityOptions};
use tokio::sync::watch;

/// The part of [`Health`] that says whether the streams and the bucket are there.
const STREAMS: &str = "streams";
/// The part that says what an acknowledgement is worth.
const DURABILITY: &str = "durability";
/// The part that says why no commands are taken.
const ROOM: &str = "room";
/// How often to look.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait before streams that are not there are looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How many looks go by until it is asked again how messages are synced: a server can be restarted otherwise.
const LOOKS_A_PROBE: u64 = 30;
/// A stream is nearly full from here on, in percent of its bytes. The rest is for the events of accepted commands.
const NEARLY_FULL: u64 = 90;

/// What is known.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// What an acknowledgement is worth.
    pub(crate) durability: Durability,
    /// Why no commands are taken; none where they are.
    pub(crate) no_room: Option<String>,
}

impl Default for Known {
    fn default() -> Self {
        Self { durability: Durability::CACHED, no_room: None }
    }
}

/// Looks at the streams.
pub(crate) struct Streams {
    pub(crate) js: jetstream::Context,
    pub(crate) options: DurabilityOptions,
    /// How many messages may wait for a service.
    pub(crate) max_backlog: u64,
    pub(crate) health: Health,
    pub(crate) known: watch::Sender<Known>,
}

impl Streams {
    /// Looks for ever.
    ///
    /// # Errors
    ///
    /// Where an acknowledgement is worth less than it must be.
    pub(crate) async fn watch(self) -> anyhow::Result<()> {
        self.health.expect(STREAMS);
        while let Err(why) = self.find_bucket().await {
            self.health.failed(STREAMS, why);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let mut durability = None;
        for look in 0_u64.. {
            match self.look().await {
                Ok((infos, no_room)) => {
                    if durability.is_none() || look.is_multiple_of(LOOKS_A_PROBE) {
                        let probed = self.options.probe(&infos, durability).await;
                        match self.options.check(&probed) {
                            Ok(()) => self.health.note(DURABILITY, probed.to_string()),
                            Err(weak) if durability.is_none() => return Err(weak.into()),
                            // Ending would not make it better: readiness reports it.
                            Err(weak) => self.health.failed(DURABILITY, weak.to_string()),
                        }
                        durability = Some(probed.durability);
                    }
                    self.health.ok(STREAMS);
                    self.tell(Known { durability: durability.unwrap_or(Durability::CACHED), no_room });
                    tokio::time::sleep(LOOK).await;
                }
                // A server that is away for a moment leaves what is known as it is: publishing tells by itself.
                Err(_) if durability.is_some() => tokio::time::sleep(LOOK).await,
                Err(why) => {
                    self.health.failed(STREAMS, why);
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        }
        Ok(())
    }

    fn tell(&self, known: Known) {
        match &known.no_room {
            Some(why) => self.health.note(ROOM, format!("no commands are taken: {why}")),
            None => self.health.ok(ROOM),
        }
        self.known.send_if_modified(|before| {
            if known.no_room.is_some() != before.no_room.is_some() {
                match &known.no_room {
                    Some(why) => tracing::warn!(why, "no commands are taken"),
                    None => tracing::info!("commands are taken again"),
                }
            }
            *before = known;
            true
        });
    }

    async fn find_bucket(&self) -> Result<(), String> {
        let bucket = self.js.get_key_value(IDEMPOTENCY).await;
        bucket.map(drop).map_err(|error| format!("the bucket {IDEMPOTENCY}: {error}"))
    }

    /// Returns what the streams are like, and why they have no room.
    async fn look(&self) -> Result<(Vec<stream::Info>, Option<String>), String> {
        let mut infos = Vec::new();
        let mut no_room = None;
        for name in [COMMANDS, EVENTS] {
            let failed = |error: &dyn std::fmt::Display| format!("the stream {name}: {error}");
            let stream = self.js.get_stream(name).await.map_err(|error| failed(&error))?;
            let consumers: Vec<consumer::Info> =
                stream.consumers().try_collect().await.map_err(|error| failed(&error))?;
            let info = stream.cached_info().clone();
            no_room = no_room.or_else(|| full(&info)).or_else(|| self.behind(&consumers));
            infos.push(info);
        }
        Ok((infos, no_room))
    }

    fn behind(&self, consumers: &[consumer::Info]) -> Option<String> {
        let behind = consumers
            .iter()
            .find(|info| info.config.durable_name.is_some() && info.num_pending > self.max_backlog)?;
        Some(format!("{} messages wait for {}", behind.num_pending, behind.name))
    }
}

fn full(info: &stream::Info) -> Option<String> {
    let limit = u64::try_from(info.config.max_bytes).ok().filter(|limit| *limit > 0)?;
    let share = info.state.bytes.saturating_mul(100) / limit;
    (share >= NEARLY_FULL).then(|| format!("the stream {} is {share} % full", info.config.name))
}
