//! What is broken when (`schedule`), and how ([`Breaker`]).

mod clock;
mod descriptors;
mod disk;
mod emptying;
mod first_start;
mod limits;
mod messages;
mod output;
mod postgres;
mod schedule;
mod special;
mod upgrade;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use demo::network::Network;
use demo::proxy::Passage;
use demo::{Member, OnLine, Store, StoreConfig};
use local_servers::{NatsServer, PostgresServer, Program};
use messaging::http;
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
pub use emptying::Refilling;
pub use first_start::kill_first_starts;
pub use limits::Limits;
pub use messages::Messages;
pub use output::Output;
pub use schedule::{Fault, Kind, Loss, Planned, schedule};
use upgrade::UPGRADED;

/// How long members may take to become ready once nothing hinders them.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How often members are looked after.
const LOOK: Duration = Duration::from_millis(500);

/// A store, and everything needed to break and to heal it.
pub struct Breaker {
    /// The store.
    pub store: Store,
    /// What is between the services and nats-server, or the servers of a cluster, and between those.
    pub network: Network,
    /// The database server, where the services use one.
    pub postgres: Option<PostgresServer>,
    /// The disks of the databases, where they can be filled.
    pub disks: Option<Disks>,
    /// How to give a process another time, where that is possible.
    pub clock: Option<Clock>,
    /// What speaks to streams and consumers.
    pub messages: Messages,
    /// The clock of the run.
    pub history: Arc<History>,
    /// What the components write.
    pub output: Arc<Output>,
    /// Where their lines go.
    pub on_line: OnLine,
    /// PostgreSQL sessions that are paused, by process id.
    pub paused_sessions: BTreeMap<Member, i32>,
    /// Services whose database is read-only.
    pub read_only: Vec<Member>,
    /// Services that are short of file descriptors.
    pub shortages: BTreeMap<Member, Shortage>,
    /// The streams with lowered limits.
    pub limits: Limits,
    /// The whole history of the streams that discard messages.
    pub archive: Archive,
    /// When the starts of an upgrade are killed.
    pub random: ChaCha8Rng,
    /// Services whose password is another one at the broker.
    pub locked_out: Vec<Member>,
    /// Second processes of services.
    pub seconds: BTreeMap<Member, Program>,
    /// Where what is done is written, a JSON object a line.
    pub log: File,
    /// How many faults of each kind were injected.
    pub injected: BTreeMap<&'static str, u64>,
    /// What ended without being told to.
    pub ended: Vec<Ended>,
    /// Who does not run because a fault says so.
    pub down: Vec<Member>,
    /// Which nats-server of a cluster does not run because a fault says so.
    pub server_down: Option<usize>,
    /// How far the stream of events is from having all it has lost.
    pub refilling: Refilling,
}

/// A fault that begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Begins,
    Ends,
}

impl Breaker {
    /// Breaks what is planned, when it is planned, and lets it end; in between, starts again what ended by itself.
    ///
    /// Returns when all faults have ended, or soon after `stop` is cancelled; then some have not.
    ///
    /// # Errors
    ///
    /// Where something cannot be broken, or not be mended: the campaign's fault, not the store's.
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
        // A stable sort: a fault that lasts no time begins before it ends.
        edges.sort_by_key(|(at, ..)| *at);
        for (at, edge, fault) in edges {
            self.look_after(start + at, stop).await?;
            if stop.is_cancelled() {
                return Ok(());
            }
            self.turn(edge, fault).await?;
        }
        self.look_after(start + length, stop).await
    }

    /// Starts again what ended by itself, until a moment.
    async fn look_after(&mut self, until: Instant, stop: &CancellationToken) -> anyhow::Result<()> {
        loop {
            self.restart_ended().await?;
            self.refill().await;
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep_until(until.min(now + LOOK)) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Starts again what ended by itself, and remembers that it did.
    pub async fn restart_ended(&mut self) -> anyhow::Result<()> {
        for (member, status) in self.store.ended()? {
            self.remember_end(member.name().to_owned(), status);
        }
        for (member, second) in &mut self.seconds {
            if let Some(status) = second.ended()? {
                let ended = ended(format!("the second {member}"), self.history.now(), status);
                self.ended.push(ended);
                second.restart()?;
            }
        }
        for member in Member::SERVICES {
            if self.store.process(member).is_none() && !self.down.contains(&member) {
                self.store.start_member(member).await?;
            }
        }
        let down = if self.down.contains(&Member::NatsServer) { Some(0) } else { self.server_down };
        for number in (0..self.store.config().replicas()).filter(|number| Some(*number) != down) {
            if let Some(server) = self.store.server(number).filter(|server| server.id().is_none()) {
                server.restart().await?;
            }
        }
        Ok(())
    }

    fn remember_end(&mut self, member: String, status: std::process::ExitStatus) {
        let ended = ended(member, self.history.now(), status);
        self.note(&json!({"ended": ended.member, "how": ended.how}));
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
        self.note(&json!({"fault": format!("{fault:?}"), "edge": format!("{edge:?}"), "outcome": outcome}));
        match fault {
            // These need servers that may be broken at this moment.
            Fault::Republish(_)
            | Fault::Replay(..)
            | Fault::Hold(_)
            | Fault::Provider
            | Fault::AtLimit(..)
            | Fault::KeyTaken
            | Fault::FreezeInstance(_)
            | Fault::FreezeSession(_)
            | Fault::Descriptors(_) => Ok(()),
            Fault::Empty(loss) if !loss.is_offline() => Ok(()),
            _ => done.with_context(|| format!("{edge:?}: {fault:?}")),
        }
    }

    async fn begin(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match *fault {
            Fault::Kill(member) => {
                self.down.push(member);
                self.store.kill(member)
            }
            Fault::Pause(member) => self.store.pause(member, true),
            Fault::Proxy(member, passage) => {
                self.network.pass(member, passage);
                Ok(())
            }
            Fault::Republish(count) => self.messages.republish(count).await,
            Fault::Replay((stream, consumer), count) => self.messages.replay(stream, consumer, count).await,
            Fault::Hold((stream, consumer)) => self.messages.hold(stream, consumer, true).await,
            Fault::Second(member) => self.start_second(member),
            Fault::Provider => {
                let rates = json!({"mode": "random", "seed": self.history.now(), "ms": 6000, "slow": 0.1, "fail": 0.2,
                    "answerThenDrop": 0.2, "dropBefore": 0.2, "decline": 0.05});
                self.behave(&rates).await
            }
            Fault::DiskFull(member) => self.disks.as_ref().map_or(Ok(()), |disks| disks.fill(member)),
            Fault::Clock(member, ahead) => {
                let variables = self.clock.as_ref().map(|clock| clock.variables(ahead)).unwrap_or_default();
                self.restart_with(member, variables).await
            }
            Fault::Postgres => {
                if let Some(postgres) = &mut self.postgres {
                    postgres.kill()?;
                }
                Ok(())
            }
            Fault::Empty(loss) => self.lose(loss).await,
            Fault::KillServer(number) => {
                self.server_down = Some(number);
                Ok(self.store.server(number).map_or(Ok(()), NatsServer::kill)?)
            }
            Fault::PauseServer(number) => Ok(self.store.server(number).map_or(Ok(()), NatsServer::pause)?),
            Fault::CutServer(number) => {
                self.network.cut_off(Some(number));
                Ok(())
            }
            Fault::FreezeInstance(_) | Fault::FreezeSession(_) | Fault::ReadOnly(_) => {
                self.begin_in_database(fault).await
            }
            Fault::Descriptors(member) => {
                if let Some(process) = self.store.process(member) {
                    let port = self.store.config().ports[&member];
                    self.shortages.insert(member, Shortage::begin(process, port).await?);
                }
                Ok(())
            }
            Fault::Password(member) => self.change_password(member, &format!("{member}-rotated")).await,
            Fault::AtLimit(stream, bytes) => {
                anyhow::ensure!(self.is_refilled(), "the stream of events is to be filled again before");
                self.limits.lower(&self.messages.jetstream(), stream, bytes).await
            }
            Fault::Upgrade => self.kill_upgrade().await,
            Fault::KeyTaken => {
                let rates =
                    json!({"mode": "random", "seed": self.history.now(), "keyTaken": 0.5, "dropBefore": 0.1});
                self.behave(&rates).await
            }
            Fault::Unread(member) => {
                self.restart_with(member, vec![("RUST_LOG".to_owned(), "debug".to_owned())]).await?;
                self.output.set_unread(member, true);
                Ok(())
            }
        }
    }

    async fn end(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match *fault {
            Fault::Kill(member) => {
                self.down.retain(|down| *down != member);
                self.store.start_member(member).await
            }
            Fault::Pause(member) => self.store.pause(member, false),
            Fault::Proxy(member, _) => {
                self.network.pass(member, Passage::Open);
                Ok(())
            }
            Fault::Republish(_) | Fault::Replay(..) => Ok(()),
            Fault::Hold((stream, consumer)) => self.messages.hold(stream, consumer, false).await,
            Fault::Second(member) => {
                // Removed and dropped: killed.
                self.seconds.remove(&member);
                Ok(())
            }
            Fault::Provider | Fault::KeyTaken => self.behave(&json!({"mode": "ok"})).await,
            Fault::DiskFull(member) => self.disks.as_ref().map_or(Ok(()), |disks| disks.free(member)),
            Fault::Clock(member, _) => self.restart_with(member, Vec::new()).await,
            Fault::Postgres => match &mut self.postgres {
                Some(postgres) if postgres.id().is_none() => Ok(postgres.restart().await?),
                _ => Ok(()),
            },
            Fault::Empty(loss) => self.make_again(loss).await,
            Fault::KillServer(_) => {
                self.server_down = None;
                self.restart_ended().await
            }
            Fault::PauseServer(number) => Ok(self.store.server(number).map_or(Ok(()), NatsServer::resume)?),
            Fault::CutServer(_) => {
                self.network.cut_off(None);
                Ok(())
            }
            Fault::FreezeInstance(member) => {
                self.store.pause(member, false)?;
                self.seconds.remove(&member);
                Ok(())
            }
            Fault::FreezeSession(member) => {
                if let Some(session) = self.paused_sessions.remove(&member) {
                    postgres::resume_session(session);
                }
                Ok(())
            }
            Fault::ReadOnly(member) => {
                self.read_only.retain(|other| *other != member);
                match &self.postgres {
                    Some(server) => postgres::set_read_only(server, member, false).await,
                    None => Ok(()),
                }
            }
            Fault::Descriptors(member) => {
                if let Some(shortage) = self.shortages.remove(&member) {
                    shortage.end();
                }
                Ok(())
            }
            Fault::Password(member) => self.change_password(member, &StoreConfig::password(member.name())).await,
            Fault::AtLimit(stream, _) => self.limits.restore(&self.messages.jetstream(), stream).await,
            Fault::Upgrade => {
                self.down.retain(|down| *down != UPGRADED);
                self.store.start_member(UPGRADED).await
            }
            Fault::Unread(member) => {
                self.output.set_unread(member, false);
                self.restart_with(member, Vec::new()).await
            }
        }
    }

    /// Ends every fault, whatever was planned, and waits until all members are ready. Returns who is not in time, and why.
    ///
    /// # Errors
    ///
    /// Where a fault cannot be ended.
    pub async fn heal(&mut self) -> anyhow::Result<Vec<String>> {
        self.network.heal();
        if let Some(disks) = &self.disks {
            Member::WITH_DATABASE.into_iter().try_for_each(|member| disks.free(member))?;
        }
        if let Some(postgres) = &mut self.postgres
            && postgres.id().is_none()
        {
            postgres.restart().await?;
        }
        self.seconds.clear();
        self.down.clear();
        self.server_down = None;
        for member in Member::SERVICES {
            self.store.pause(member, false)?;
        }
        for number in 0..self.store.config().replicas() {
            self.store.server(number).map_or(Ok(()), NatsServer::resume)?;
        }
        self.restart_ended().await?;
        self.restore().await?;
        self.refill_what_is_lost().await;
        for member in Member::SERVICES {
            let told = self.store.config().own_variables.get(&member);
            if told.is_some_and(|told| told.iter().any(|(name, _)| name == "FAKETIME" || name == "RUST_LOG")) {
                self.restart_with(member, Vec::new()).await?;
            }
        }
        let start = Instant::now();
        loop {
            self.restart_ended().await?;
            let refilled = self.refill().await;
            let healed = self.messages.hold_none().await.and(self.behave(&json!({"mode": "ok"})).await);
            let healed = healed.and(self.limits.restore_all(&self.messages.jetstream()).await);
            let statuses = self.store.status().await;
            let unready = statuses.into_iter().filter(|status| !status.ready);
            let mut unready: Vec<String> =
                unready.map(|status| format!("{}: {}", status.member, status.detail)).collect();
            unready.extend(healed.err().map(|error| format!("{error:#}")));
            unready.extend((!refilled).then(|| "the stream of events is not filled again".to_owned()));
            if unready.is_empty() || start.elapsed() > READY_WITHIN {
                return Ok(unready);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn behave(&self, behaviour: &Value) -> anyhow::Result<()> {
        let url = format!("{}/behaviour", self.store.config().http_url(Member::PaymentProvider));
        let sent = http::client(Duration::from_secs(5))?.put(url).json(behaviour).send().await;
        sent.and_then(reqwest::Response::error_for_status).context("telling the payment provider how to behave")?;
        Ok(())
    }

    fn note(&mut self, what: &Value) {
        let line = json!({"at": self.history.now(), "what": what});
        if let Err(error) = writeln!(self.log, "{line}") {
            tracing::error!(%error, "what is broken cannot be written down");
        }
    }
}

fn ended(member: String, at: u64, status: std::process::ExitStatus) -> Ended {
    Ended {
        member,
        at,
        how: status.to_string(),
        in_order: status.code().is_some_and(|code| code == 0 || code == 1),
    }
}

/// Returns which of these kinds there can be, and why the machine does not allow the others. Of all kinds, where none
/// is named, those that such a store does not have go without saying.
pub fn allowed(kinds: &[Kind], postgres: bool, servers: usize, data: &Path) -> (Vec<Kind>, Vec<String>) {
    use clap::ValueEnum;
    let wanted: Vec<Kind> = if kinds.is_empty() { Kind::value_variants().to_vec() } else { kinds.to_vec() };
    let mut left_out = Vec::new();
    let mut refuse = |kind: Kind, why: &str| {
        left_out.push(format!("{}: {why}", kind.name()));
        false
    };
    let has = |kind: &Kind| match kind {
        Kind::Postgres => postgres,
        Kind::FreezeInstance | Kind::FreezeSession | Kind::ReadOnly => postgres,
        Kind::KillServer | Kind::PauseServer | Kind::CutServer => servers > 1,
        Kind::Password => servers == 1,
        _ => true,
    };
    let allowed = wanted.into_iter().filter(|kind| match kind {
        kind if !has(kind) => !kinds.is_empty() && refuse(*kind, "there is no such server in this store"),
        Kind::DiskFull if postgres => refuse(*kind, "the databases of all services are on one disk"),
        Kind::DiskFull if !disk::can_mount(data) => {
            refuse(*kind, "making a small disk needs the right to mount one")
        }
        Kind::Clock if Clock::find().is_none() => refuse(*kind, "libfaketime is not installed"),
        _ => true,
    });
    (allowed.collect(), left_out)
}
