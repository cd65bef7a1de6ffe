//! What an acknowledgement of JetStream is worth: probed, not assumed.
//!
//! nats-server acknowledges a message once it has handed it to the operating system. Whether it has forced it to the
//! disk before that (`sync_interval: always`) its monitor tells (`/varz`), and how many servers have it, the stream.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream;
use serde::{Deserialize, Serialize};

/// How long the monitor of a server may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What an acknowledged message survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durability {
    /// Whether it is on a disk before it is acknowledged.
    pub fsynced: bool,
    /// How many servers keep it. Of three, two have it when it is acknowledged.
    pub replicas: usize,
}

impl Durability {
    /// The least: what can be said of a server that does not tell.
    pub const CACHED: Self = Self { fsynced: false, replicas: 1 };

    /// Says whether it is at least what is asked for.
    #[must_use]
    pub fn is_at_least(self, level: Level) -> bool {
        match level {
            Level::Cached => true,
            Level::Fsynced => self.fsynced,
            Level::Replicated => self.replicas >= 3,
        }
    }

    /// Explains it in a sentence.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match (self.fsynced, self.replicas >= 3) {
            (false, false) => "a killed process loses nothing; a power cut may lose what was not synced yet",
            (true, false) => "a power cut loses nothing; a lost disk does",
            (false, true) => "a lost server loses nothing; a power cut of most of them at once may",
            (true, true) => "a power cut and a lost server lose nothing",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.fsynced { "fsynced" } else { "cached" })?;
        if self.replicas > 1 { write!(f, ", replicated ×{}", self.replicas) } else { Ok(()) }
    }
}

impl Serialize for Durability {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What can be asked for at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Handed to the operating system: survives the process.
    Cached,
    /// On a disk: survives a power cut.
    Fsynced,
    /// Kept by three servers or more: survives one of them.
    Replicated,
}

/// How to probe, and what to ask for.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DurabilityOptions {
    /// The monitors of the nats-servers, such as `http://127.0.0.1:8222`, separated by commas; all of a cluster.
    /// Without them nobody says whether messages are synced before they are acknowledged, and they count as not.
    #[arg(long, env = "NATS_MONITOR_URL", value_delimiter = ',')]
    pub nats_monitor_url: Vec<String>,
    /// Refuses to start where an acknowledgement is worth less; several, separated by commas.
    #[arg(long, env = "MINIMUM_DURABILITY", value_enum, value_delimiter = ',')]
    pub minimum_durability: Vec<Level>,
}

/// Why a process may not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "an acknowledgement is worth \"{found}\" here ({}), and MINIMUM_DURABILITY asks for {wanted:?}: {how}",
    found.explain()
)]
pub struct TooWeak {
    found: Durability,
    wanted: Level,
    how: &'static str,
}

impl DurabilityOptions {
    /// Finds out what an acknowledgement of these streams is worth: the least of any of them. Whether messages are
    /// synced counts as no where a monitor does not say.
    pub async fn probe(&self, streams: impl IntoIterator<Item = &jetstream::stream::Info>) -> Durability {
        let replicas = streams.into_iter().map(|info| info.config.num_replicas).min().unwrap_or(1);
        Durability { fsynced: self.is_synced().await, replicas }
    }

    /// Refuses what is worth less than is asked for.
    ///
    /// # Errors
    ///
    /// [`TooWeak`], which says what there is, and how to have more.
    pub fn check(&self, found: Durability) -> Result<(), TooWeak> {
        let missing = self.minimum_durability.iter().find(|level| !found.is_at_least(**level));
        match missing {
            None => Ok(()),
            Some(&wanted) => Err(TooWeak {
                found,
                wanted,
                how: match wanted {
                    Level::Fsynced => {
                        "set `sync_interval: always` in nats.conf, and NATS_MONITOR_URL to where that can be seen"
                    }
                    Level::Cached | Level::Replicated => {
                        "provision the streams with three replicas on a cluster of three servers"
                    }
                },
            }),
        }
    }

    async fn is_synced(&self) -> bool {
        let probes = self.nats_monitor_url.iter().map(|url| is_synced(url));
        let synced = futures::future::join_all(probes).await;
        !synced.is_empty() && synced.into_iter().all(|synced| synced)
    }
}

#[derive(Deserialize)]
struct Varz {
    jetstream: JetStreamz,
}

#[derive(Deserialize)]
struct JetStreamz {
    config: JetStreamConfig,
}

#[derive(Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
}

async fn is_synced(monitor: &str) -> bool {
    match varz(monitor).await {
        Ok(varz) => varz.jetstream.config.sync_always,
        Err(error) => {
            tracing::warn!(monitor, %error, "the monitor of nats-server does not say whether messages are synced");
            false
        }
    }
}

async fn varz(monitor: &str) -> Result<Varz, reqwest::Error> {
    let client = reqwest::Client::builder().timeout(ANSWER).build()?;
    let url = format!("{}/varz", monitor.trim_end_matches('/'));
    client.get(url).send().await?.error_for_status()?.json().await
}
