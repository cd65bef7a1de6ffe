//! Who runs, and what waits for them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::connection::State;
use async_nats::jetstream::{self, consumer};
use async_nats::{Client, StatusCode};
use contracts::topology::{API_GATEWAY, COMMANDS, DEAD_LETTERS, EVENTS, TIMERS};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};

use super::representation::{OverviewService, OverviewStream, Presence};

/// The streams that are shown, and whether services listen to them.
const STREAMS: [(&str, bool); 4] = [(COMMANDS, true), (EVENTS, true), (TIMERS, true), (DEAD_LETTERS, false)];
/// How long services may take to answer.
const REPLY_TIMEOUT: Duration = Duration::from_millis(300);
/// How long the server may take to answer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// A service that was silent so often in a row is away. One whose process is gone is so at once: the server says so.
const SILENCES: u32 = 2;

/// What was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) broker: Presence,
    pub(super) services: Vec<OverviewService>,
    pub(super) streams: Vec<OverviewStream>,
}

/// Looks, and remembers what it saw.
pub(super) struct Discovery {
    client: Client,
    js: jetstream::Context,
    found: Found,
    /// How often in a row each service was silent, in the order of their names.
    silences: Vec<u32>,
}

/// What a service answered.
enum Answer {
    /// So many instances did.
    Instances(u64),
    /// Nobody is there.
    Nobody,
}

impl Discovery {
    pub(super) fn new(client: Client, js: jetstream::Context, names: &[&str]) -> Self {
        let service = |name: &&str| OverviewService {
            name: (*name).to_owned(),
            state: Presence::Away,
            instances: 0,
            backlog: 0,
            unacknowledged: 0,
            redelivered: 0,
        };
        let found =
            Found { broker: Presence::Away, services: names.iter().map(service).collect(), streams: Vec::new() };
        // Nobody is known to run before the first answer.
        Self { client, js, silences: vec![SILENCES; found.services.len()], found }
    }

    /// Looks once.
    pub(super) async fn look(&mut self) -> Found {
        let looking = async {
            anyhow::ensure!(self.client.connection_state() == State::Connected, "there is no connection");
            tokio::try_join!(self.streams(), self.ping())
        };
        match tokio::time::timeout(SERVER_TIMEOUT, looking).await.context("in time").flatten() {
            Ok(((streams, consumers), answers)) => {
                self.found.broker = Presence::Running;
                self.found.streams = streams;
                self.count(&consumers);
                self.presences(&answers);
            }
            Err(error) => {
                tracing::debug!(%error, "the shop could not be looked at");
                self.found.broker = Presence::Away;
            }
        }
        self.found.clone()
    }

    fn count(&mut self, consumers: &[consumer::Info]) {
        for service in &mut self.found.services {
            let own = || consumers.iter().filter(|info| info.name == service.name);
            service.backlog = own().map(|info| info.num_pending).sum();
            service.unacknowledged = own().map(|info| info.num_ack_pending as u64).sum();
            service.redelivered = own().map(|info| info.num_redelivered as u64).sum();
        }
    }

    fn presences(&mut self, answers: &BTreeMap<String, Answer>) {
        for (service, silences) in self.found.services.iter_mut().zip(&mut self.silences) {
            *silences = match answers.get(&service.name) {
                // It is who asks.
                _ if service.name == API_GATEWAY => 0,
                Some(Answer::Instances(count)) => {
                    service.instances = *count;
                    0
                }
                Some(Answer::Nobody) => SILENCES,
                None => silences.saturating_add(1),
            };
            if service.name == API_GATEWAY {
                service.instances = 1;
            }
            service.state = if *silences < SILENCES { Presence::Running } else { Presence::Away };
            if service.state == Presence::Away {
                service.instances = 0;
            }
        }
    }

    /// Returns what the streams hold, and how far their consumers are.
    async fn streams(&self) -> anyhow::Result<(Vec<OverviewStream>, Vec<consumer::Info>)> {
        let looked = STREAMS.map(|(name, received)| async move {
            let stream = self.js.get_stream(name).await?;
            let state = &stream.cached_info().state;
            let shown = OverviewStream {
                name: name.to_owned(),
                messages: state.messages,
                bytes: state.bytes,
                first_sequence: state.first_sequence,
                last_sequence: state.last_sequence,
            };
            let consumers: Vec<consumer::Info> =
                if received { stream.consumers().try_collect().await? } else { Vec::new() };
            anyhow::Ok((shown, consumers))
        });
        let (streams, consumers): (Vec<_>, Vec<_>) = try_join_all(looked).await?.into_iter().unzip();
        Ok((streams, consumers.into_iter().flatten().collect()))
    }

    /// Asks every service whether it is there, and returns what was answered in time.
    async fn ping(&self) -> anyhow::Result<BTreeMap<String, Answer>> {
        let inbox = self.client.new_inbox();
        let mut replies = self.client.subscribe(format!("{inbox}.*")).await?;
        let services = self.found.services.iter().filter(|service| service.name != API_GATEWAY);
        for OverviewService { name, .. } in services {
            let reply = format!("{inbox}.{name}");
            self.client.publish_with_reply(format!("$SRV.PING.{name}"), reply, "".into()).await?;
        }
        let mut answers = BTreeMap::new();
        let gathering = async {
            while let Some(reply) = replies.next().await {
                let Some(name) = reply.subject.rsplit('.').next() else { continue };
                if reply.status == Some(StatusCode::NO_RESPONDERS) {
                    answers.insert(name.to_owned(), Answer::Nobody);
                } else if let Answer::Instances(count) =
                    answers.entry(name.to_owned()).or_insert(Answer::Instances(0))
                {
                    *count += 1;
                }
            }
        };
        // It ends with the time: how many instances there are nobody knows.
        tokio::time::timeout(REPLY_TIMEOUT, gathering).await.unwrap_or_default();
        Ok(answers)
    }
}
