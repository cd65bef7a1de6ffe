//! The store as processes: started, killed, stopped, started again.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use local_servers::nats::Routes;
use local_servers::{NatsServer, Program, ProgramSettings, nats};
use messaging::connection::NatsOptions;
use messaging::http;
use serde_json::Value;

use crate::config::{Cluster, ServerPorts, StoreConfig, USERS};
use crate::member::Member;
use crate::provision::{PROVISIONER, provision};

/// The configuration of the broker, as it stands at the root of the repository.
const NATS_CONF: &str = include_str!("../../nats.conf");

/// How long a member may take until it is ready.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a member may take to answer how it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the lines of the members' logs go.
pub type OnLine = Arc<dyn Fn(Member, &str) + Send + Sync>;

/// What a member's process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs; whether it does its work, [`MemberStatus::ready`] says.
    Running,
    /// It was held still, and not let go on.
    Paused,
    /// There is none.
    Stopped,
    /// It does not listen yet.
    Starting,
}

/// Where a member stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Its name.
    pub member: String,
    /// Its process, while there is one.
    pub process: Option<u32>,
    /// What that does.
    pub state: State,
    /// Whether it does its work.
    pub ready: bool,
    /// Why not.
    pub detail: String,
}

/// A running store. Dropped, it kills what still runs.
pub struct Store {
    config: StoreConfig,
    nats: NatsServer,
    /// The other servers of its cluster.
    others: Vec<NatsServer>,
    services: BTreeMap<Member, Program>,
    /// Who was paused and not let go on.
    paused: BTreeSet<Member>,
    http: reqwest::Client,
    on_line: OnLine,
}

impl Store {
    /// Starts the broker, makes the streams, starts every service, and waits until all of them are ready.
    ///
    /// `progress` hears of each step in a sentence, `on_line` gets every line of the members' logs.
    ///
    /// # Errors
    ///
    /// Where a part does not start; it says which and shows its last lines.
    pub async fn start(
        config: StoreConfig,
        on_line: OnLine,
        progress: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&config.data)
            .with_context(|| format!("making the data folder {}", config.data.display()))?;
        let (nats, others) = start_nats(&config, &on_line, progress).await?;
        progress(&format!("nats-server listens on {}", config.nats_url()));
        provision(&nats_options(&config, PROVISIONER), config.replicas()).await?;
        progress("streams and consumers are provisioned");

        let mut services = BTreeMap::new();
        for member in Member::SERVICES {
            services.insert(member, Program::start(settings(&config, member, &on_line))?);
        }
        // A connection that was there before says nothing of a process that accepts no new ones.
        let http = http::builder(ANSWER_TIMEOUT).pool_max_idle_per_host(0).build()?;
        let mut store = Self { config, nats, others, services, paused: BTreeSet::new(), http, on_line };
        for member in Member::SERVICES {
            store.wait_until_ready(member, progress).await?;
        }
        Ok(store)
    }

    /// Returns where everything is.
    #[must_use]
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Returns a nats-server; the first is the member, the others are those of its cluster.
    pub fn server(&mut self, number: usize) -> Option<&mut NatsServer> {
        match number {
            0 => Some(&mut self.nats),
            _ => self.others.get_mut(number - 1),
        }
    }

    /// Changes what a service is told from its next start on; a running one keeps what it was told.
    pub fn tell(&mut self, member: Member, variables: Vec<(String, String)>) {
        self.config.own_variables.insert(member, variables);
        if let Some(service) = self.services.get_mut(&member) {
            service.change(settings(&self.config, member, &self.on_line));
        }
    }

    /// Kills a member (SIGKILL): it gets no chance to finish anything.
    ///
    /// # Errors
    ///
    /// Where the operating system refuses.
    pub fn kill(&mut self, member: Member) -> anyhow::Result<()> {
        match self.services.get_mut(&member) {
            Some(service) => Ok(service.kill()?),
            None => Ok(self.nats.kill()?),
        }
    }

    /// Stops a member (SIGTERM) and waits until it has finished. Returns how a service ended.
    ///
    /// # Errors
    ///
    /// Where the operating system refuses.
    pub async fn stop(&mut self, member: Member) -> anyhow::Result<Option<ExitStatus>> {
        match self.services.get_mut(&member) {
            Some(service) => Ok(service.stop().await?),
            None => {
                self.nats.stop().await?;
                Ok(None)
            }
        }
    }

    /// Starts a member that does not run.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub async fn start_member(&mut self, member: Member) -> anyhow::Result<()> {
        if self.process(member).is_none() {
            self.paused.remove(&member);
        }
        match self.services.get_mut(&member) {
            Some(service) => Ok(service.restart()?),
            None if self.nats.id().is_some() => Ok(()),
            None => Ok(self.nats.restart().await?),
        }
    }

    /// Pauses a member (SIGSTOP) or lets it go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// Where the operating system refuses.
    pub fn pause(&mut self, member: Member, paused: bool) -> anyhow::Result<()> {
        match (self.services.get_mut(&member), paused) {
            (Some(service), true) => service.pause()?,
            (Some(service), false) => service.resume()?,
            (None, true) => self.nats.pause()?,
            (None, false) => self.nats.resume()?,
        }
        if paused && self.process(member).is_some() {
            self.paused.insert(member);
        } else {
            self.paused.remove(&member);
        }
        Ok(())
    }

    /// Returns whether a member was paused and not let go on.
    #[must_use]
    pub fn is_paused(&self, member: Member) -> bool {
        self.process(member).is_some() && self.paused.contains(&member)
    }

    /// Returns members that ended by themselves since the last look, and how.
    ///
    /// # Errors
    ///
    /// Where the operating system does not tell.
    pub fn ended(&mut self) -> anyhow::Result<Vec<(Member, ExitStatus)>> {
        let mut ended = Vec::new();
        for server in [&mut self.nats].into_iter().chain(&mut self.others) {
            if let Some(status) = server.ended()? {
                ended.push((Member::NatsServer, status));
            }
        }
        for (member, service) in &mut self.services {
            if let Some(status) = service.ended()? {
                ended.push((*member, status));
            }
        }
        Ok(ended)
    }

    /// Returns where every member stands, in the order of [`Member::ALL`]. It takes 2 s at the most, and borrows nothing.
    pub fn status(&self) -> impl Future<Output = Vec<MemberStatus>> + Send + use<> {
        futures::future::join_all(Member::ALL.map(|member| self.member_status(member)))
    }

    /// Returns where a member stands.
    pub fn member_status(&self, member: Member) -> impl Future<Output = MemberStatus> + Send + use<> {
        let path = if member == Member::NatsServer { "healthz" } else { "readiness" };
        let asked = self.http.get(format!("{}/{path}", self.config.http_url(member)));
        let (process, is_paused) = (self.process(member), self.is_paused(member));
        async move {
            let (state, detail) = match process {
                None => (State::Stopped, Some("not running".to_owned())),
                Some(_) if is_paused => (State::Paused, Some("paused".to_owned())),
                Some(_) => look(asked).await,
            };
            let (ready, detail) = (detail.is_none(), detail.unwrap_or_default());
            MemberStatus { member: member.name().to_owned(), process, state, ready, detail }
        }
    }

    /// Returns the id of a member's process, while there is one.
    #[must_use]
    pub fn process(&self, member: Member) -> Option<u32> {
        match self.services.get(&member) {
            Some(service) => service.id(),
            None => self.nats.id(),
        }
    }

    /// Waits until a member is ready, 60 s at the most.
    ///
    /// # Errors
    ///
    /// Where it ends, or does not become ready in time; it says what it waits for.
    pub async fn wait_until_ready(
        &mut self,
        member: Member,
        progress: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut told = String::new();
        loop {
            let status = self.member_status(member).await;
            if status.ready {
                progress(&format!("{member} is ready: {}", self.config.http_url(member)));
                return Ok(());
            }
            let ended = self.ended()?;
            if let Some((_, how)) = ended.iter().find(|(ended, _)| *ended == member) {
                bail!("{member} ended ({how}) before it was ready; its log says why");
            }
            if status.process.is_none() {
                bail!("{member} does not run");
            }
            if start.elapsed() > READY_WITHIN {
                bail!("{member} is not ready after {} s: {}", READY_WITHIN.as_secs(), status.detail);
            }
            if status.detail != told && start.elapsed() > Duration::from_secs(1) {
                progress(&format!("waiting for {member}: {}", status.detail));
                told = status.detail;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the services, then the broker. Returns how each service ended; one that had to be killed is named as such.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub async fn shut_down(mut self) -> anyhow::Result<BTreeMap<String, String>> {
        let running = self.services.iter_mut().filter(|(_, service)| service.id().is_some());
        let stopping = running.map(|(member, service)| async move { (*member, service.stop().await) });
        let mut exits = BTreeMap::new();
        for (member, stopped) in futures::future::join_all(stopping).await {
            let exit =
                stopped?.map_or_else(|| "killed: it did not end in time".to_owned(), |exit| exit.to_string());
            exits.insert(member.name().to_owned(), exit);
        }
        for server in [&mut self.nats].into_iter().chain(&mut self.others) {
            server.stop().await?;
        }
        Ok(exits)
    }
}

/// Asks a running member how it is. Returns why it is not ready; nothing where it is.
async fn look(asked: reqwest::RequestBuilder) -> (State, Option<String>) {
    let answer = match asked.send().await {
        Ok(answer) if answer.status().is_success() => return (State::Running, None),
        Ok(answer) => answer.json::<Value>().await,
        Err(error) if error.is_connect() => return (State::Starting, Some("it does not answer yet".to_owned())),
        Err(_) => return (State::Running, Some("it does not answer".to_owned())),
    };
    let readiness = answer.unwrap_or_default();
    let failing = readiness["checks"].as_object().into_iter().flatten().filter(|(_, check)| check["ok"] != true);
    let reasons: Vec<String> =
        failing.map(|(part, check)| format!("{part}: {}", check["detail"].as_str().unwrap_or("?"))).collect();
    (State::Running, Some(reasons.join("; ")))
}

/// How to connect as a user.
#[must_use]
pub fn nats_options(config: &StoreConfig, user: &str) -> NatsOptions {
    NatsOptions {
        nats_url: config.nats_url(),
        nats_user: Some(user.to_owned()),
        nats_password: Some(StoreConfig::password(user)),
    }
}

/// Starts nats-server, and where it belongs to a cluster, the others with it: each is ready when all are.
async fn start_nats(
    config: &StoreConfig,
    on_line: &OnLine,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<(NatsServer, Vec<NatsServer>)> {
    let program = nats::find_or_install(|step| progress(step)).await?;
    let conf = config.data.join("nats.conf");
    std::fs::write(&conf, NATS_CONF).with_context(|| format!("writing {}", conf.display()))?;
    let on_line = on_line.clone();
    let builder = NatsServer::builder(program).config(conf).on_line(move |line| on_line(Member::NatsServer, line));
    let builder = USERS
        .iter()
        .fold(builder, |builder, (user, variable)| builder.variable(*variable, StoreConfig::password(user)))
        // Most of what the server allocates is garbage at once: swept more rarely, it leaves more of the CPU for messages.
        // Near its limit it does nothing but sweep, so that is far off. It keeps the ids of two minutes, and the subjects of
        // all that its streams hold: 0.7 KB an order, and they have room for two million.
        .environment("GOGC", "400")
        .environment("GOMEMLIMIT", std::env::var("GOMEMLIMIT").as_deref().unwrap_or("4GiB"));
    let Some(cluster) = &config.cluster else {
        let monitor = config.ports[&Member::NatsServer];
        let alone = builder.port(config.nats_port).monitor_port(monitor).store_dir(config.data.join("nats"));
        return Ok((alone.start().await?, Vec::new()));
    };
    let servers = cluster.servers.iter().enumerate().map(|(number, ports)| {
        let folder = config.data.join(format!("nats-{}", number + 1));
        let server = builder.clone().port(ports.clients).monitor_port(ports.monitor).store_dir(folder);
        server.routes(routes(cluster, number, *ports)).start()
    });
    let mut servers = futures::future::try_join_all(servers).await?.into_iter();
    Ok((servers.next().context("a cluster without servers")?, servers.collect()))
}

/// Returns how a server finds the others of its cluster.
fn routes(cluster: &Cluster, number: usize, ports: ServerPorts) -> Routes {
    let others = cluster.servers.iter().enumerate().filter(|(other, _)| *other != number).map(|(other, ports)| {
        let port = cluster.detours.get(&(number, other)).copied().unwrap_or(ports.routes);
        format!("nats://127.0.0.1:{port}")
    });
    // Where there are detours nobody is to learn of the direct way: port 1 leads nowhere.
    let advertise = if cluster.detours.is_empty() { ports.routes } else { 1 };
    Routes {
        cluster: "store".to_owned(),
        port: ports.routes,
        advertise: format!("127.0.0.1:{advertise}"),
        others: others.collect(),
    }
}

/// Returns how a service is run.
#[must_use]
pub fn settings(config: &StoreConfig, member: Member, on_line: &OnLine) -> ProgramSettings {
    let http_address = config.http_url(member).replace("http://", "");
    let mut variables = vec![
        ("NATS_URL".to_owned(), config.nats_url()),
        ("NATS_MONITOR_URL".to_owned(), config.monitor_urls()),
        ("NATS_USER".to_owned(), member.name().to_owned()),
        ("NATS_PASSWORD".to_owned(), StoreConfig::password(member.name())),
        ("HTTP_ADDRESS".to_owned(), http_address),
        ("ALLOWED_ORIGINS".to_owned(), config.page_origins().join(",")),
    ];
    if let Some(url) = config.database_url(member) {
        variables.push(("DATABASE_URL".to_owned(), url));
    }
    variables.extend(own_variables(config, member));
    variables.extend(config.variables.iter().cloned());
    variables.extend(config.own_variables.get(&member).into_iter().flatten().cloned());
    let on_line = on_line.clone();
    ProgramSettings {
        name: member.name().to_owned(),
        program: config.program.clone(),
        arguments: vec![member.name().to_owned()],
        variables,
        on_line: Arc::new(move |line| on_line(member, line)),
    }
}

/// What only this member is told.
fn own_variables(config: &StoreConfig, member: Member) -> Vec<(String, String)> {
    let file = |name: &str| config.data.join(name).display().to_string();
    let variables = match member {
        Member::NatsServer | Member::AccountService => vec![],
        Member::ApiGateway => vec![
            ("OPERATIONS", "true".to_owned()),
            ("OPERATOR_PASSWORD", StoreConfig::password(choreo::operator::OPERATOR)),
        ],
        Member::PaymentProvider => vec![("LEDGER", file("payment-provider.jsonl"))],
        Member::OrderService => vec![("STOCK_DEADLINE_SECONDS", config.stock_deadline_seconds.to_string())],
        Member::InventoryService => vec![("AUTOMATION_TESTING", "true".to_owned())],
        Member::PaymentService => vec![("PAYMENT_PROVIDER_URL", config.http_url(Member::PaymentProvider))],
        Member::NotificationService => vec![("MAIL_FOLDER", file("mail"))],
    };
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
