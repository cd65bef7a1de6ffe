//! What an acknowledgement of JetStream is worth: probed, not assumed.
//!
//! nats-server acknowledges a message once it has handed it to the operating system. Whether it has forced it to the
//! disk before that (`sync_interval: always`) its monitor tells (`/varz`), and how many servers have it, the stream.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::setting::{self, redacted};

/// How long the monitor of a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

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
    pub const UNSYNCED: Self = Self { fsynced: false, replicas: 1 };

    /// Says whether it is at least what is asked for.
    #[must_use]
    pub fn is_at_least(self, level: Level) -> bool {
        match level {
            Level::Unsynced => true,
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
        f.write_str(if self.fsynced { "fsynced" } else { "unsynced" })?;
        if self.replicas > 1 { write!(f, ", replicated ×{}", self.replicas) } else { Ok(()) }
    }
}

impl Serialize for Durability {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What can be asked for at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Handed to the operating system: survives the process.
    Unsynced,
    /// On a disk: survives a power cut.
    Fsynced,
    /// Kept by three servers or more: survives one of them.
    Replicated,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |word| f.write_str(word.get_name()))
    }
}

/// How to probe, and what to ask for.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DurabilityOptions {
    /// The monitors of the nats-servers, such as `http://127.0.0.1:8222`, separated by commas; all of a cluster.
    /// Without them messages count as not synced before they are acknowledged.
    #[arg(long, env = "NATS_MONITOR_URL", value_delimiter = ',', hide_env_values = true,
        value_parser = setting::http_url())]
    pub nats_monitor_url: Vec<String>,
    /// Refuses to start where an acknowledgement is worth less; several, separated by commas.
    #[arg(long, env = "MINIMUM_DURABILITY", value_delimiter = ',', value_parser = setting::one_of::<Level>())]
    pub minimum_durability: Vec<Level>,
}

/// Why a process may not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "the durability of the streams is \"{found}\" ({}), and MINIMUM_DURABILITY requires \"{wanted}\"; {how}",
    found.explain()
)]
pub struct TooWeak {
    found: Durability,
    wanted: Level,
    how: &'static str,
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// What an acknowledgement survives, as far as it is known.
    pub durability: Durability,
    /// The monitors that did not answer, and why. If there are any, whether messages are synced is what was known before,
    /// and not synced if nothing was.
    pub silent: Vec<String>,
}

impl fmt::Display for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.silent.as_slice() {
            [] => self.durability.fmt(f),
            silent => {
                write!(f, "{}; whether messages are synced is unknown: {}", self.durability, silent.join("; "))
            }
        }
    }
}

impl DurabilityOptions {
    /// Finds out what an acknowledgement of these streams is worth: the least of any of them. A monitor that does not
    /// answer changes nothing about what was known `before`.
    pub async fn probe(
        &self,
        streams: impl IntoIterator<Item = &jetstream::stream::Info>,
        before: Option<Durability>,
    ) -> Probed {
        let replicas = streams.into_iter().map(|info| info.config.num_replicas).min().unwrap_or(1);
        let answers = futures::future::join_all(self.nats_monitor_url.iter().map(|url| is_synced(url))).await;
        let is_unsynced = answers.is_empty() || answers.contains(&Ok(false));
        let silent: Vec<String> = answers.into_iter().filter_map(Result::err).filter(|_| !is_unsynced).collect();
        let known = before.is_some_and(|before| before.fsynced);
        let fsynced = !is_unsynced && (silent.is_empty() || known);
        Probed { durability: Durability { fsynced, replicas }, silent }
    }

    /// Refuses what is worth less than is asked for. What is unknown is not refused.
    ///
    /// # Errors
    ///
    /// [`TooWeak`], which says what there is, and how to have more.
    pub fn check(&self, probed: &Probed) -> Result<(), TooWeak> {
        let found = probed.durability;
        let is_unknown = |level| level == Level::Fsynced && !probed.silent.is_empty();
        let mut asked = self.minimum_durability.iter().copied();
        match asked.find(|level| !found.is_at_least(*level) && !is_unknown(*level)) {
            None => Ok(()),
            Some(wanted) => Err(TooWeak {
                found,
                wanted,
                how: match wanted {
                    Level::Fsynced => {
                        "set `sync_interval: always` in nats.conf, and NATS_MONITOR_URL to where that can be seen"
                    }
                    Level::Unsynced | Level::Replicated => {
                        "provision the streams with three replicas on a cluster of three servers"
                    }
                },
            }),
        }
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

/// Returns whether a server syncs before it acknowledges, or why its monitor does not answer.
async fn is_synced(monitor: &str) -> Result<bool, String> {
    let answer = varz(monitor).await;
    answer.map(|varz| varz.jetstream.config.sync_always).map_err(|error| {
        // The text of the HTTP client would repeat the URL; what happened is in its sources.
        let error = error.downcast().map_or_else(|other| other, |error: reqwest::Error| error.without_url().into());
        format!("the monitor {} has not answered: {error:#}", redacted(monitor))
    })
}

async fn varz(monitor: &str) -> anyhow::Result<Varz> {
    let client = crate::http::client(ANSWER_TIMEOUT)?;
    let url = format!("{}/varz", monitor.trim_end_matches('/'));
    Ok(client.get(url).send().await?.error_for_status()?.json().await?)
}
