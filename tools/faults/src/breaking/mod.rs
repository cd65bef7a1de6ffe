//! The schedule of faults (`schedule`), and their injection ([`Breaker`]).

mod clock;
mod descriptors;
mod disk;
mod first_start;
mod limits;
mod messages;
mod output;
mod postgres;
mod schedule;
mod special;
mod stream_loss;
mod upgrade;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use choreography::http;
use choreography_test::{NatsServer, PostgresServer, Program};
use demo::network::Network;
use demo::proxy::LinkPolicy;
use demo::{Component, OnLine, Shop, ShopConfig};
use rand::rngs::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::history::History;
use crate::recorded::Ended;
pub use clock::Clock;
pub use descriptors::Shortage;
pub use disk::Disks;
pub use first_start::kill_first_starts;
pub use limits::Limits;
pub use messages::Messages;
pub use output::Output;
pub use schedule::{Fault, Kind, Loss, Planned, schedule};
pub use stream_loss::Restoring;
use upgrade::UPGRADED;

/// The time limit for components to become ready once all faults are cleared.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// The time between two checks of the components.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A shop with everything needed to inject faults and to clear them.
pub struct Breaker {
    /// The shop.
    pub shop: Shop,
    /// The proxies between the services and nats-server, or between these and the servers of a cluster.
    pub network: Network,
    /// The database server, if the services use one.
    pub postgres: Option<PostgresServer>,
    /// The disks of the databases, if they can be filled.
    pub disks: Option<Disks>,
    /// The means to shift a process's clock, if available.
    pub clock: Option<Clock>,
    /// The connections for faults of streams and consumers.
    pub messages: Messages,
    /// The clock of the run.
    pub history: Arc<History>,
    /// The output of the components.
    pub output: Arc<Output>,
    /// The callback for lines of output.
    pub on_line: OnLine,
    /// PostgreSQL sessions that are paused, by process id.
    pub paused_sessions: BTreeMap<Component, i32>,
    /// Services whose database is read-only.
    pub read_only: Vec<Component>,
    /// Services that are short of file descriptors.
    pub shortages: BTreeMap<Component, Shortage>,
    /// The streams with lowered limits.
    pub limits: Limits,
    /// The whole history of the streams that discard messages.
    pub archive: Archive,
    /// When the starts of an upgrade are killed.
    pub random: ChaCha8Rng,
    /// Services whose password is changed at nats-server.
    pub locked_out: Vec<Component>,
    /// Second instances of services.
    pub seconds: BTreeMap<Component, Program>,
    /// The log of faults, one JSON object per line.
    pub log: File,
    /// The number of injected faults per kind.
    pub injected: BTreeMap<&'static str, u64>,
    /// Processes that ended without being requested to.
    pub ended: Vec<Ended>,
    /// Components that are down because of a fault.
    pub down: Vec<Component>,
    /// The nats-server of a cluster that is down because of a fault.
    pub server_down: Option<usize>,
    /// The progress of restoring the stream of events.
    pub restoring: Restoring,
}

/// The begin or the end of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Begins,
    Ends,
}

impl Breaker {
    /// Injects the planned faults at their times and ends them; restarts processes that end by themselves.
    ///
    /// Returns when all faults have ended, or soon after `stop` is cancelled; then some are still active.
    ///
    /// # Errors
    ///
    /// If a fault cannot be injected or ended: an error of the campaign, not of the shop.
    pub async fn run(
        &mut self,
        planned: &[Planned],
        length: Duration,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut edges: Vec<(Duration, Edge, &Fault)> = planned
            .iter()
            .flat_map(|planned| {
                let end = (planned.at + planned.lasts).min(length);
                [(planned.at, Edge::Begins, &planned.fault), (end, Edge::Ends, &planned.fault)]
            })
            .collect();
        // The sort is stable: a fault without duration begins before it ends.
        edges.sort_by_key(|(at, ..)| *at);
        for (at, edge, fault) in edges {
            self.supervise(start + at, stop).await?;
            if stop.is_cancelled() {
                return Ok(());
            }
            self.turn(edge, fault).await?;
        }
        self.supervise(start + length, stop).await
    }

    /// Restarts processes that end by themselves, until a time.
    async fn supervise(&mut self, until: Instant, stop: &CancellationToken) -> anyhow::Result<()> {
        loop {
            self.restart_ended().await?;
            self.restore_stream().await;
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep_until(until.min(now + POLL_INTERVAL)) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Restarts processes that ended by themselves, and records each end.
    pub async fn restart_ended(&mut self) -> anyhow::Result<()> {
        for (component, status) in self.shop.ended()? {
            self.record_end(component.name().to_owned(), status);
        }
        for (component, second) in &mut self.seconds {
            if let Some(status) = second.ended()? {
                let ended = ended(format!("the second {component}"), self.history.now(), status);
                self.ended.push(ended);
                second.restart()?;
            }
        }
        for component in Component::SERVICES {
            if self.shop.process(component).is_none() && !self.down.contains(&component) {
                self.shop.start_component(component).await?;
            }
        }
        let down = if self.down.contains(&Component::NatsServer) { Some(0) } else { self.server_down };
        for number in (0..self.shop.config().replicas()).filter(|number| Some(*number) != down) {
            if let Some(server) = self.shop.server(number).filter(|server| server.id().is_none()) {
                server.restart().await?;
            }
        }
        Ok(())
    }

    fn record_end(&mut self, component: String, status: std::process::ExitStatus) {
        let ended = ended(component, self.history.now(), status);
        self.write_log(&json!({"ended": ended.component, "how": ended.how}));
        self.ended.push(ended);
    }

    async fn turn(&mut self, edge: Edge, fault: &Fault) -> anyhow::Result<()> {
        let done = match edge {
            Edge::Begins => self.begin(fault).await,
            Edge::Ends => self.end(fault).await,
        };
        if edge == Edge::Begins && done.is_ok() {
            *self.injected.entry(fault.kind().name()).or_default() += 1;
        }
        let outcome = done.as_ref().map_or_else(|error| format!("{error:#}"), |()| "done".to_owned());
        self.write_log(&json!({"fault": format!("{fault:?}"), "edge": format!("{edge:?}"), "outcome": outcome}));
        match fault {
            // These need servers that may be down because of another fault.
            Fault::Republish(_)
            | Fault::Replay(..)
            | Fault::HoldConsumer(_)
            | Fault::Provider
            | Fault::AtLimit(..)
            | Fault::KeyTaken
            | Fault::FreezeInstance(_)
            | Fault::FreezeSession(_)
            | Fault::Descriptors(_) => Ok(()),
            Fault::LoseStream(loss) if !loss.is_offline() => Ok(()),
            _ => done.with_context(|| format!("{edge:?}: {fault:?}")),
        }
    }

    async fn begin(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match *fault {
            Fault::Kill(component) => {
                self.down.push(component);
                self.shop.kill(component)
            }
            Fault::Pause(component) => self.shop.pause(component, true),
            Fault::Proxy(component, policy) => {
                self.network.pass(component, policy);
                Ok(())
            }
            Fault::Republish(count) => self.messages.republish(count).await,
            Fault::Replay((stream, consumer), count) => self.messages.replay(stream, consumer, count).await,
            Fault::HoldConsumer((stream, consumer)) => self.messages.hold(stream, consumer, true).await,
            Fault::ExtraInstance(component) => self.start_extra_instance(component),
            Fault::Provider => {
                let rates = json!({"mode": "random", "seed": self.history.now(), "ms": 6000, "slow": 0.1, "fail": 0.2,
                    "answerThenDrop": 0.2, "dropBefore": 0.2, "decline": 0.05});
                self.behave(&rates).await
            }
            Fault::DiskFull(component) => self.disks.as_ref().map_or(Ok(()), |disks| disks.fill(component)),
            Fault::Clock(component, ahead) => {
                let variables = self.clock.as_ref().map(|clock| clock.variables(ahead)).unwrap_or_default();
                self.restart_with(component, variables).await
            }
            Fault::Postgres => {
                if let Some(postgres) = &mut self.postgres {
                    postgres.kill()?;
                }
                Ok(())
            }
            Fault::LoseStream(loss) => self.lose(loss).await,
            Fault::KillServer(number) => {
                self.server_down = Some(number);
                Ok(self.shop.server(number).map_or(Ok(()), NatsServer::kill)?)
            }
            Fault::PauseServer(number) => Ok(self.shop.server(number).map_or(Ok(()), NatsServer::pause)?),
            Fault::DisconnectServer(number) => {
                self.network.cut_off(Some(number));
                Ok(())
            }
            Fault::FreezeInstance(_) | Fault::FreezeSession(_) | Fault::ReadOnly(_) => {
                self.begin_in_database(fault).await
            }
            Fault::Descriptors(component) => {
                if let Some(process) = self.shop.process(component) {
                    let port = self.shop.config().ports[&component];
                    self.shortages.insert(component, Shortage::begin(process, port).await?);
                }
                Ok(())
            }
            Fault::Password(component) => self.change_password(component, &format!("{component}-rotated")).await,
            Fault::AtLimit(stream, bytes) => {
                anyhow::ensure!(self.is_republished(), "the stream of events must be restored first");
                self.limits.lower(&self.messages.jetstream(), stream, bytes).await
            }
            Fault::Upgrade => self.kill_upgrade().await,
            Fault::KeyTaken => {
                let rates =
                    json!({"mode": "random", "seed": self.history.now(), "keyTaken": 0.5, "dropBefore": 0.1});
                self.behave(&rates).await
            }
            Fault::Unread(component) => {
                self.restart_with(component, vec![("RUST_LOG".to_owned(), "debug".to_owned())]).await?;
                self.output.set_unread(component, true);
                Ok(())
            }
        }
    }

    async fn end(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match *fault {
            Fault::Kill(component) => self.restart_killed(component).await,
            Fault::Pause(component) => self.shop.pause(component, false),
            Fault::Proxy(component, _) => {
                self.network.pass(component, LinkPolicy::Open);
                Ok(())
            }
            Fault::Republish(_) | Fault::Replay(..) => Ok(()),
            Fault::HoldConsumer((stream, consumer)) => self.messages.hold(stream, consumer, false).await,
            Fault::ExtraInstance(component) => {
                // Dropping it kills the process.
                self.seconds.remove(&component);
                Ok(())
            }
            Fault::Provider | Fault::KeyTaken => self.behave(&json!({"mode": "ok"})).await,
            Fault::DiskFull(component) => self.disks.as_ref().map_or(Ok(()), |disks| disks.free(component)),
            Fault::Clock(component, _) => self.restart_with(component, Vec::new()).await,
            Fault::Postgres => match &mut self.postgres {
                Some(postgres) if postgres.id().is_none() => Ok(postgres.restart().await?),
                _ => Ok(()),
            },
            Fault::LoseStream(loss) => self.recreate(loss).await,
            Fault::KillServer(_) => {
                self.server_down = None;
                self.restart_ended().await
            }
            Fault::PauseServer(number) => Ok(self.shop.server(number).map_or(Ok(()), NatsServer::resume)?),
            Fault::DisconnectServer(_) => {
                self.network.cut_off(None);
                Ok(())
            }
            Fault::FreezeInstance(component) => {
                self.shop.pause(component, false)?;
                self.seconds.remove(&component);
                Ok(())
            }
            Fault::FreezeSession(component) => {
                if let Some(session) = self.paused_sessions.remove(&component) {
                    postgres::resume_session(session);
                }
                Ok(())
            }
            Fault::ReadOnly(component) => {
                self.read_only.retain(|other| *other != component);
                match &self.postgres {
                    Some(server) => postgres::set_read_only(server, component, false).await,
                    None => Ok(()),
                }
            }
            Fault::Descriptors(component) => {
                if let Some(shortage) = self.shortages.remove(&component) {
                    shortage.end();
                }
                Ok(())
            }
            Fault::Password(component) => {
                self.change_password(component, &ShopConfig::password(component.name())).await
            }
            Fault::AtLimit(stream, _) => self.limits.restore(&self.messages.jetstream(), stream).await,
            Fault::Upgrade => self.restart_killed(UPGRADED).await,
            Fault::Unread(component) => {
                self.output.set_unread(component, false);
                self.restart_with(component, Vec::new()).await
            }
        }
    }

    async fn restart_killed(&mut self, component: Component) -> anyhow::Result<()> {
        self.down.retain(|down| *down != component);
        self.shop.start_component(component).await
    }

    /// Ends every fault and waits until all components are ready. Returns the components that are not ready in time,
    /// and why.
    ///
    /// # Errors
    ///
    /// If a fault cannot be ended.
    pub async fn clear_faults(&mut self) -> anyhow::Result<Vec<String>> {
        self.network.clear_faults();
        if let Some(disks) = &self.disks {
            Component::WITH_DATABASE.into_iter().try_for_each(|component| disks.free(component))?;
        }
        if let Some(postgres) = &mut self.postgres
            && postgres.id().is_none()
        {
            postgres.restart().await?;
        }
        self.seconds.clear();
        self.down.clear();
        self.server_down = None;
        for component in Component::SERVICES {
            self.shop.pause(component, false)?;
        }
        for number in 0..self.shop.config().replicas() {
            self.shop.server(number).map_or(Ok(()), NatsServer::resume)?;
        }
        self.restart_ended().await?;
        self.restore().await?;
        self.begin_restore().await;
        for component in Component::SERVICES {
            let recorded = self.shop.config().own_variables.get(&component);
            if recorded
                .is_some_and(|recorded| recorded.iter().any(|(name, _)| name == "FAKETIME" || name == "RUST_LOG"))
            {
                self.restart_with(component, Vec::new()).await?;
            }
        }
        let start = Instant::now();
        loop {
            self.restart_ended().await?;
            let restored = self.restore_stream().await;
            let faults_cleared = self.messages.release_all().await.and(self.behave(&json!({"mode": "ok"})).await);
            let faults_cleared = faults_cleared.and(self.limits.restore_all(&self.messages.jetstream()).await);
            let statuses = self.shop.status().await;
            let unready = statuses.into_iter().filter(|status| !status.ready);
            let mut unready: Vec<String> =
                unready.map(|status| format!("{}: {}", status.component, status.detail)).collect();
            unready.extend(faults_cleared.err().map(|error| format!("{error:#}")));
            unready.extend((!restored).then(|| "the stream of events is not restored".to_owned()));
            if unready.is_empty() || start.elapsed() > READY_TIMEOUT {
                return Ok(unready);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn behave(&self, behaviour: &Value) -> anyhow::Result<()> {
        let url = format!("{}/behaviour", self.shop.config().http_url(Component::PaymentProvider));
        let sent = http::client(Duration::from_secs(5))?.put(url).json(behaviour).send().await;
        sent.and_then(reqwest::Response::error_for_status)
            .context("setting the behaviour of the payment provider")?;
        Ok(())
    }

    fn write_log(&mut self, what: &Value) {
        let line = json!({"at": self.history.now(), "what": what});
        if let Err(error) = writeln!(self.log, "{line}") {
            tracing::error!(%error, "cannot write the log of faults");
        }
    }
}

fn ended(component: String, at: u64, status: std::process::ExitStatus) -> Ended {
    Ended {
        component,
        at,
        how: status.to_string(),
        in_order: status.code().is_some_and(|code| code == 0 || code == 1),
    }
}

/// Returns the kinds that are possible, and for the others the reason. If no kind is requested, kinds that need
/// another set of servers are left out silently.
pub fn allowed(kinds: &[Kind], postgres: bool, servers: usize, data: &Path) -> (Vec<Kind>, Vec<String>) {
    use clap::ValueEnum;
    let requested: Vec<Kind> = if kinds.is_empty() { Kind::value_variants().to_vec() } else { kinds.to_vec() };
    let mut left_out = Vec::new();
    let mut refuse = |kind: Kind, why: &str| {
        left_out.push(format!("{}: {why}", kind.name()));
        false
    };
    let has = |kind: &Kind| match kind {
        Kind::Postgres => postgres,
        Kind::FreezeInstance | Kind::FreezeSession | Kind::ReadOnly => postgres,
        Kind::KillServer | Kind::PauseServer | Kind::DisconnectServer => servers > 1,
        Kind::Password => servers == 1,
        _ => true,
    };
    let allowed = requested.into_iter().filter(|kind| match kind {
        kind if !has(kind) => !kinds.is_empty() && refuse(*kind, "the shop has no such server"),
        Kind::DiskFull if postgres => refuse(*kind, "the databases of all services are on one disk"),
        Kind::DiskFull if !disk::can_mount(data) => refuse(*kind, "a small disk needs the permission to mount"),
        Kind::Clock if Clock::find().is_none() => refuse(*kind, "libfaketime is not installed"),
        _ => true,
    });
    (allowed.collect(), left_out)
}
