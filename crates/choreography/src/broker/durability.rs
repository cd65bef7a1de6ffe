//! The durability of acknowledged messages: probed, not assumed.
//!
//! nats-server acknowledges a message once it has passed it to the operating system. Its monitor (`/varz`) reports
//! whether it also syncs the message to disk before that (`sync_interval: always`). The stream's info reports the
//! number of replicas.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream;
use serde::{Deserialize, Serialize};

use crate::setting::{Args, ValueEnum, redacted};

/// How long the monitor of a server may take to respond.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The failures that an acknowledged message survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durability {
    /// Whether it is synced to disk before it is acknowledged.
    pub fsynced: bool,
    /// How many servers store it. With three, two have it when it is acknowledged.
    pub replicas: usize,
}

impl Durability {
    /// The weakest durability, assumed if a server's configuration is unknown.
    pub const UNSYNCED: Self = Self { fsynced: false, replicas: 1 };

    /// Returns whether it satisfies a required level.
    #[must_use]
    pub fn is_at_least(self, level: Level) -> bool {
        match level {
            Level::Unsynced => true,
            Level::Fsynced => self.fsynced,
            Level::Replicated => self.replicas >= 3,
        }
    }

    /// Returns an explanation, as a sentence.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match (self.fsynced, self.replicas >= 3) {
            (false, false) => {
                "a killed process loses nothing; a power cut may lose messages that are not synced yet"
            }
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

/// A required level of durability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Passed to the operating system: survives a crash of the process.
    Unsynced,
    /// Synced to disk: survives a power cut.
    Fsynced,
    /// Stored by three servers or more: survives the loss of one.
    Replicated,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsynced => "unsynced",
            Self::Fsynced => "fsynced",
            Self::Replicated => "replicated",
        })
    }
}

/// The monitors to probe, and the required levels.
#[derive(Debug, Clone, Default, Args)]
pub struct DurabilityOptions {
    /// The monitors of the nats-servers, such as `http://127.0.0.1:8222`, separated by commas; all servers of a
    /// cluster. Without them, messages count as not synced before they are acknowledged.
    #[arg(long, env = "NATS_MONITOR_URL", value_delimiter = ',', hide_env_values = true,
        value_parser = crate::setting::http_url())]
    pub nats_monitor_url: Vec<String>,
    /// Refuses to start if the durability of the streams is lower; several, separated by commas.
    #[arg(long, env = "MINIMUM_DURABILITY", value_delimiter = ',', value_parser = crate::setting::one_of::<Level>())]
    pub minimum_durability: Vec<Level>,
}

/// The durability is lower than required, so the process must not start.
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

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The durability, as far as it is known.
    pub durability: Durability,
    /// The monitors that did not respond, and why. If there are any, the last known sync setting applies, or not synced
    /// if there is none.
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
    /// Probes the durability of streams: the weakest of them. If a monitor does not respond, the sync setting that was
    /// known `before` still applies.
    pub async fn probe(
        &self,
        streams: impl IntoIterator<Item = &jetstream::stream::Info>,
        before: Option<Durability>,
    ) -> Probed {
        let replicas = streams.into_iter().map(|info| info.config.num_replicas).min().unwrap_or(1);
        let responses = futures::future::join_all(self.nats_monitor_url.iter().map(|url| is_synced(url))).await;
        let is_unsynced = responses.is_empty() || responses.contains(&Ok(false));
        let silent: Vec<String> = responses.into_iter().filter_map(Result::err).filter(|_| !is_unsynced).collect();
        let known = before.is_some_and(|before| before.fsynced);
        let fsynced = !is_unsynced && (silent.is_empty() || known);
        Probed { durability: Durability { fsynced, replicas }, silent }
    }

    /// Refuses a durability below a required level. An unknown sync setting is not refused.
    ///
    /// # Errors
    ///
    /// [`TooWeak`], with the durability and the way to raise it.
    pub fn check(&self, probed: &Probed) -> Result<(), TooWeak> {
        let found = probed.durability;
        let is_unknown = |level| level == Level::Fsynced && !probed.silent.is_empty();
        let mut required = self.minimum_durability.iter().copied();
        match required.find(|level| !found.is_at_least(*level) && !is_unknown(*level)) {
            None => Ok(()),
            Some(wanted) => Err(TooWeak {
                found,
                wanted,
                how: match wanted {
                    Level::Fsynced => {
                        "set `sync_interval: always` in nats.conf, and NATS_MONITOR_URL to the monitors that show it"
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

/// Returns whether a server syncs before it acknowledges, or why its monitor did not respond.
async fn is_synced(monitor: &str) -> Result<bool, String> {
    let synced = async {
        let varz: Varz = self::monitor(monitor, "varz").await?.error_for_status()?.json().await?;
        anyhow::Ok(varz.jetstream.config.sync_always)
    };
    synced.await.map_err(|error| monitor_failure(monitor, error))
}

/// Fetches an endpoint of a server's monitor, such as `varz`.
pub(crate) async fn monitor(url: &str, endpoint: &str) -> anyhow::Result<reqwest::Response> {
    let client = crate::http::client(ANSWER_TIMEOUT)?;
    Ok(client.get(format!("{}/{endpoint}", url.trim_end_matches('/'))).send().await?)
}

/// Describes the failure of a monitor, without its password.
pub(crate) fn monitor_failure(url: &str, error: anyhow::Error) -> String {
    // The HTTP client's text would repeat the URL; its sources have the cause.
    let error = error.downcast().map_or_else(|other| other, |error: reqwest::Error| error.without_url().into());
    format!("the monitor {} has not answered: {error:#}", redacted(url))
}
