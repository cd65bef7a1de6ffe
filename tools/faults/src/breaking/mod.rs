//! The faults ([`Fault`]), their schedule (`schedule`), and their injection ([`Breaker`]).

mod clock;
mod descriptors;
mod disk;
mod fault;
mod first_start;
mod inject;
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
use demo::{Component, OnLine, Shop};
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
pub use fault::{CONSUMERS, Fault, Kind, Loss};
pub use first_start::kill_first_starts;
pub use limits::Limits;
pub use messages::Messages;
pub use output::Output;
pub use schedule::{Planned, schedule};
pub use stream_loss::Restoring;

/// The time limit for components to become ready once all faults are cleared.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// How long the restore of the events of a whole campaign may take; it ends by itself if the consumers make no progress.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(600);
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
            | Fault::Projection(..)
            | Fault::FreezeInstance(_)
            | Fault::FreezeSession(_)
            | Fault::Descriptors(_) => Ok(()),
            Fault::LoseStream(loss) if !loss.is_offline() => Ok(()),
            _ => done.with_context(|| format!("{edge:?}: {fault:?}")),
        }
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
        let (mut start, mut was_restored) = (Instant::now(), false);
        loop {
            self.restart_ended().await?;
            let restored = self.restore_stream().await;
            if restored && !was_restored {
                (start, was_restored) = (Instant::now(), true);
            }
            let faults_cleared = self.messages.release_all().await.and(self.behave(&json!({"mode": "ok"})).await);
            let faults_cleared = faults_cleared.and(self.messages.start_projections().await);
            let faults_cleared = faults_cleared.and(self.limits.restore_all(&self.messages.jetstream()).await);
            let statuses = self.shop.status().await;
            let unready = statuses.into_iter().filter(|status| !status.ready);
            let mut unready: Vec<String> =
                unready.map(|status| format!("{}: {}", status.component, status.detail)).collect();
            unready.extend(faults_cleared.err().map(|error| format!("{error:#}")));
            let limit = if restored { READY_TIMEOUT } else { RESTORE_TIMEOUT };
            unready.extend((!restored).then(|| "the stream of events is not restored".to_owned()));
            if unready.is_empty() || start.elapsed() > limit {
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
