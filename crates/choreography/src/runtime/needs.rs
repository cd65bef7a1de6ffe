//! The streams that a service needs: it waits for them at its start, and checks them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream;

use crate::broker::connection;
use crate::broker::durability::Durability;
use crate::broker::topology::subject_matches;
use crate::runtime::options::ServiceOptions;
use crate::runtime::retention::{self, HorizonError};
use crate::telemetry::health::Health;

/// The [`Health`] part for the streams.
pub(crate) const STREAMS: &str = "streams";
/// The [`Health`] part for the durability of acknowledged messages.
const DURABILITY: &str = "durability";
/// The interval between checks for missing streams.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// The delay with which a deadline may fire and still be kept by its stream: after an outage the broker fires it late.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// The streams that a service needs.
#[derive(Debug)]
pub(super) struct StreamNeeds {
    /// The streams it consumes, each through a durable consumer named after the service.
    pub(super) consumed: Arc<[String]>,
    /// The streams that its projections read.
    pub(super) projected: Vec<String>,
    /// The subjects that it publishes on, by the stream that stores them.
    pub(super) published: BTreeMap<String, Vec<String>>,
    pub(super) longest_deadline: Option<Duration>,
}

impl StreamNeeds {
    /// Waits until the streams can be read on a recent enough server, and store what the service publishes. Checks the
    /// dedup horizon, the deadlines, and the durability; returns the durability and the infos of the streams that it reads.
    pub(super) async fn wait(
        &self,
        js: &jetstream::Context,
        options: &ServiceOptions,
        health: &Health,
    ) -> anyhow::Result<Option<(Durability, Vec<jetstream::stream::Info>)>> {
        let mut is_logged = false;
        loop {
            match retention::check_dedup_horizon(js, &self.read(), options.retention()).await {
                Ok(infos) => match self.check(js, &infos).await {
                    Ok(()) => {
                        check_deadlines(infos.iter().map(|info| &info.config), self.longest_deadline)?;
                        let probed = options.durability.probe(&infos, None).await;
                        options.durability.check(&probed)?;
                        for silent in &probed.silent {
                            tracing::warn!(
                                "{silent}; whether messages are synced is unknown and counts as not synced"
                            );
                        }
                        health.note(DURABILITY, probed.to_string());
                        health.ok(STREAMS);
                        return Ok(Some((probed.durability, infos)));
                    }
                    Err(error) => {
                        let error = format!("{error:#}");
                        if !std::mem::replace(&mut is_logged, true) {
                            tracing::warn!(%error, "the service cannot start yet and checks again");
                        }
                        health.failed(STREAMS, error);
                    }
                },
                Err(error @ HorizonError::TooShort(_)) => bail!(error),
                Err(error @ HorizonError::Unreadable { .. }) => health.failed(STREAMS, error.to_string()),
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Returns the streams that the service consumes, and those that its projections read.
    pub(super) fn read(&self) -> Vec<String> {
        let mut streams = self.consumed.to_vec();
        streams.extend(self.projected.iter().filter(|stream| !self.consumed.contains(stream)).cloned());
        streams.dedup();
        streams
    }

    /// Checks the server's version, and that its streams store what the service publishes.
    async fn check(&self, js: &jetstream::Context, consumed: &[jetstream::stream::Info]) -> anyhow::Result<()> {
        connection::check_server(&js.client())?;
        for (name, published) in &self.published {
            let stored = match consumed.iter().find(|info| info.config.name == *name) {
                Some(info) => info.config.subjects.clone(),
                None => {
                    let stream = js.get_stream(name).await.with_context(|| {
                        format!("stream {name}, which stores what this service publishes, cannot be read; may this user read it?")
                    })?;
                    stream.cached_info().config.subjects.clone()
                }
            };
            let is_stored = |subject: &&String| stored.iter().any(|filter| subject_matches(filter, subject));
            let missing: Vec<&str> =
                published.iter().filter(|subject| !is_stored(subject)).map(String::as_str).collect();
            anyhow::ensure!(
                missing.is_empty(),
                "stream {name} does not store {}, which this service publishes; add the subjects to the topology and \
                 provision it",
                missing.join(", ")
            );
        }
        Ok(())
    }
}

/// Refuses deadlines that their stream would delete before they fire.
fn check_deadlines<'a>(
    streams: impl IntoIterator<Item = &'a jetstream::stream::Config>,
    longest: Option<Duration>,
) -> anyhow::Result<()> {
    let Some(longest) = longest else { return Ok(()) };
    for config in streams.into_iter().filter(|config| config.allow_message_schedules) {
        let allowed = config.max_age.saturating_sub(MAX_DELAY.min(config.max_age / 2));
        anyhow::ensure!(
            longest <= allowed,
            "the longest deadline is {} s, and stream {} keeps messages for {} s: a deadline must be {} s or shorter, or it \
             could be deleted before it fires; set a shorter one, or raise the stream's max_age",
            longest.as_secs(),
            config.name,
            config.max_age.as_secs(),
            allowed.as_secs()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_longer_than_its_stream_keeps_messages_is_refused() {
        let day = Duration::from_secs(24 * 3600);
        let timers = |max_age| jetstream::stream::Config {
            name: "TIMERS".to_owned(),
            max_age,
            allow_message_schedules: true,
            ..Default::default()
        };
        let refused = check_deadlines([&timers(day)], Some(day)).unwrap_err().to_string();
        assert!(
            refused.contains("TIMERS") && refused.contains("86400 s") && refused.contains("82800 s"),
            "{refused}"
        );
        check_deadlines([&timers(day)], Some(day - MAX_DELAY)).unwrap();
        check_deadlines([&timers(Duration::from_secs(10))], Some(Duration::from_secs(5))).unwrap();
        check_deadlines([&timers(day)], None).unwrap();
        let other = jetstream::stream::Config { max_age: day, ..Default::default() };
        check_deadlines([&other], Some(day * 9)).unwrap();
    }
}
