//! Service discovery: the running services and their backlogs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::connection::State;
use async_nats::jetstream::{self, consumer};
use async_nats::{Client, StatusCode};
use choreography::Declaration;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};

use super::representation::{OverviewService, OverviewStream, Presence};
use super::system::System;

/// How long services may take to reply.
const REPLY_TIMEOUT: Duration = Duration::from_millis(300);
/// How long the server may take to reply.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// A service is down after so many missed pings in a row. If its process has ended, it is down at once: the server
/// reports no responder.
const MAX_MISSED_PINGS: u32 = 2;

/// The result of a poll.
#[derive(Debug, Clone)]
pub struct Discovered {
    /// Whether nats-server replies.
    pub broker: Presence,
    /// The observing program and the other services.
    pub services: Vec<OverviewService>,
    /// The streams.
    pub streams: Vec<OverviewStream>,
}

/// Polls services and streams, and keeps the last result.
pub(super) struct Discovery {
    client: Client,
    js: jetstream::Context,
    program: &'static str,
    /// The streams, and whether services consume them.
    streams: Vec<(&'static str, bool)>,
    found: Discovered,
    /// The service of each consumer: its own, or one of a projection.
    owners: BTreeMap<String, &'static str>,
    /// How many pings in a row each service has missed, in the order of the services.
    missed_pings: Vec<u32>,
}

/// The reply to a ping.
enum Ping {
    /// The number of instances that replied.
    Instances(u64),
    /// The server reports no responder.
    NoResponder,
}

impl Discovery {
    pub(super) fn new(client: Client, js: jetstream::Context, system: &System) -> Self {
        let service = |name: &str| OverviewService {
            name: name.to_owned(),
            state: Presence::Unavailable,
            instances: 0,
            backlog: 0,
            unacknowledged: 0,
            redelivered: 0,
        };
        let mut names: Vec<&str> = system.declarations.iter().map(Declaration::service).collect();
        names.sort_unstable();
        let found = Discovered {
            broker: Presence::Unavailable,
            services: [system.program].into_iter().chain(names).map(service).collect(),
            streams: Vec::new(),
        };
        // No service counts as running before its first reply.
        let missed_pings = vec![MAX_MISSED_PINGS; found.services.len()];
        let followed = system.followed.iter().map(|stream| (*stream, true));
        let streams = followed.chain(system.others.iter().copied()).collect();
        let owners = system.declarations.iter().flat_map(|service| {
            let projections = service.projections().iter().map(|projection| projection.consumer.clone());
            projections.chain([service.service().to_owned()]).map(|consumer| (consumer, service.service()))
        });
        let owners = owners.collect();
        Self { client, js, program: system.program, streams, owners, missed_pings, found }
    }

    /// Polls once.
    pub(super) async fn poll(&mut self) -> Discovered {
        let polling = async {
            anyhow::ensure!(self.client.connection_state() == State::Connected, "there is no connection");
            tokio::try_join!(self.streams(), self.ping())
        };
        match tokio::time::timeout(SERVER_TIMEOUT, polling).await.context("in time").flatten() {
            Ok(((streams, consumers), pings)) => {
                self.found.broker = Presence::Running;
                self.found.streams = streams;
                self.count(&consumers);
                self.presences(&pings);
            }
            Err(error) => {
                tracing::debug!(%error, "a poll of the services failed");
                self.found.broker = Presence::Unavailable;
            }
        }
        self.found.clone()
    }

    fn count(&mut self, consumers: &[consumer::Info]) {
        for service in &mut self.found.services {
            let is_own =
                |info: &&consumer::Info| self.owners.get(&info.name).is_some_and(|owner| *owner == service.name);
            let own = || consumers.iter().filter(is_own);
            service.backlog = own().map(|info| info.num_pending).sum();
            service.unacknowledged = own().map(|info| info.num_ack_pending as u64).sum();
            service.redelivered = own().map(|info| info.num_redelivered as u64).sum();
        }
    }

    fn presences(&mut self, pings: &BTreeMap<String, Ping>) {
        for (service, missed) in self.found.services.iter_mut().zip(&mut self.missed_pings) {
            *missed = match pings.get(&service.name) {
                // This program sends the pings.
                _ if service.name == self.program => 0,
                Some(Ping::Instances(count)) => {
                    service.instances = *count;
                    0
                }
                Some(Ping::NoResponder) => MAX_MISSED_PINGS,
                None => missed.saturating_add(1),
            };
            if service.name == self.program {
                service.instances = 1;
            }
            service.state = if *missed < MAX_MISSED_PINGS { Presence::Running } else { Presence::Unavailable };
            if service.state == Presence::Unavailable {
                service.instances = 0;
            }
        }
    }

    /// Returns the state of the streams and of their consumers.
    async fn streams(&self) -> anyhow::Result<(Vec<OverviewStream>, Vec<consumer::Info>)> {
        let infos = self.streams.iter().map(|&(name, received)| async move {
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
        let (streams, consumers): (Vec<_>, Vec<_>) = try_join_all(infos).await?.into_iter().unzip();
        Ok((streams, consumers.into_iter().flatten().collect()))
    }

    /// Pings every service, and returns the replies that arrived in time.
    async fn ping(&self) -> anyhow::Result<BTreeMap<String, Ping>> {
        let inbox = self.client.new_inbox();
        let mut replies = self.client.subscribe(format!("{inbox}.*")).await?;
        let services = self.found.services.iter().filter(|service| service.name != self.program);
        for OverviewService { name, .. } in services {
            let reply = format!("{inbox}.{name}");
            self.client.publish_with_reply(format!("$SRV.PING.{name}"), reply, "".into()).await?;
        }
        let mut pings = BTreeMap::new();
        let gathering = async {
            while let Some(reply) = replies.next().await {
                let Some(name) = reply.subject.rsplit('.').next() else { continue };
                if reply.status == Some(StatusCode::NO_RESPONDERS) {
                    pings.insert(name.to_owned(), Ping::NoResponder);
                } else if let Ping::Instances(count) = pings.entry(name.to_owned()).or_insert(Ping::Instances(0)) {
                    *count += 1;
                }
            }
        };
        // It always waits the full time, because the number of instances is unknown.
        tokio::time::timeout(REPLY_TIMEOUT, gathering).await.unwrap_or_default();
        Ok(pings)
    }
}
