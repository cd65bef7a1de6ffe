//! The shop as processes: started, killed, stopped, started again.

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

use crate::component::Component;
use crate::config::{Cluster, ServerPorts, ShopConfig, USERS};
use crate::provision::{PROVISIONER, provision};

/// The configuration of the broker, as it stands at the root of the repository.
const NATS_CONF: &str = include_str!("../../nats.conf");

/// How long a component may take until it is ready.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a component may take to answer how it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the lines of the components' logs go.
pub type OnLine = Arc<dyn Fn(Component, &str) + Send + Sync>;

/// What a component's process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs; whether it does its work, [`ComponentStatus::ready`] says.
    Running,
    /// It was held still, and not let go on.
    Paused,
    /// There is none.
    Stopped,
    /// It does not listen yet.
    Starting,
}

/// Where a component stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Its name.
    pub component: String,
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
pub struct Shop {
    config: ShopConfig,
    nats: NatsServer,
    /// The other servers of its cluster.
    others: Vec<NatsServer>,
    services: BTreeMap<Component, Program>,
    /// Who was paused and not let go on.
    paused: BTreeSet<Component>,
    http: reqwest::Client,
    on_line: OnLine,
}

impl Shop {
    /// Starts the broker, makes the streams, starts every service, and waits until all of them are ready.
    ///
    /// `progress` hears of each step in a sentence, `on_line` gets every line of the components' logs.
    ///
    /// # Errors
    ///
    /// Where a part does not start; it says which and shows its last lines.
    pub async fn start(
        config: ShopConfig,
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
        for component in Component::SERVICES {
            services.insert(component, Program::start(settings(&config, component, &on_line))?);
        }
        // A connection that was there before says nothing of a process that accepts no new ones.
        let http = http::builder(ANSWER_TIMEOUT).pool_max_idle_per_host(0).build()?;
        let mut shop = Self { config, nats, others, services, paused: BTreeSet::new(), http, on_line };
        for component in Component::SERVICES {
            shop.wait_until_ready(component, progress).await?;
        }
        Ok(shop)
    }

    /// Returns where everything is.
    #[must_use]
    pub fn config(&self) -> &ShopConfig {
        &self.config
    }

    /// Returns a nats-server; the first is the component, the others are those of its cluster.
    pub fn server(&mut self, number: usize) -> Option<&mut NatsServer> {
        match number {
            0 => Some(&mut self.nats),
            _ => self.others.get_mut(number - 1),
        }
    }

    /// Changes what a service is told from its next start on; a running one keeps what it was told.
    pub fn tell(&mut self, component: Component, variables: Vec<(String, String)>) {
        self.config.own_variables.insert(component, variables);
        if let Some(service) = self.services.get_mut(&component) {
            service.change(settings(&self.config, component, &self.on_line));
        }
    }

    /// Kills a component (SIGKILL): it gets no chance to finish anything.
    ///
    /// # Errors
    ///
    /// Where the operating system refuses.
    pub fn kill(&mut self, component: Component) -> anyhow::Result<()> {
        match self.services.get_mut(&component) {
            Some(service) => Ok(service.kill()?),
            None => Ok(self.nats.kill()?),
        }
    }

    /// Stops a component (SIGTERM) and waits until it has finished. Returns how a service ended.
    ///
    /// # Errors
    ///
    /// Where the operating system refuses.
    pub async fn stop(&mut self, component: Component) -> anyhow::Result<Option<ExitStatus>> {
        match self.services.get_mut(&component) {
            Some(service) => Ok(service.stop().await?),
            None => {
                self.nats.stop().await?;
                Ok(None)
            }
        }
    }

    /// Starts a component that does not run.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub async fn start_component(&mut self, component: Component) -> anyhow::Result<()> {
        if self.process(component).is_none() {
            self.paused.remove(&component);
        }
        match self.services.get_mut(&component) {
            Some(service) => Ok(service.restart()?),
            None if self.nats.id().is_some() => Ok(()),
            None => Ok(self.nats.restart().await?),
        }
    }

    /// Pauses a component (SIGSTOP) or lets it go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// Where the operating system refuses.
    pub fn pause(&mut self, component: Component, paused: bool) -> anyhow::Result<()> {
        match (self.services.get_mut(&component), paused) {
            (Some(service), true) => service.pause()?,
            (Some(service), false) => service.resume()?,
            (None, true) => self.nats.pause()?,
            (None, false) => self.nats.resume()?,
        }
        if paused && self.process(component).is_some() {
            self.paused.insert(component);
        } else {
            self.paused.remove(&component);
        }
        Ok(())
    }

    /// Returns whether a component was paused and not let go on.
    #[must_use]
    pub fn is_paused(&self, component: Component) -> bool {
        self.process(component).is_some() && self.paused.contains(&component)
    }

    /// Returns components that ended by themselves since the last look, and how.
    ///
    /// # Errors
    ///
    /// Where the operating system does not tell.
    pub fn ended(&mut self) -> anyhow::Result<Vec<(Component, ExitStatus)>> {
        let mut ended = Vec::new();
        for server in [&mut self.nats].into_iter().chain(&mut self.others) {
            if let Some(status) = server.ended()? {
                ended.push((Component::NatsServer, status));
            }
        }
        for (component, service) in &mut self.services {
            if let Some(status) = service.ended()? {
                ended.push((*component, status));
            }
        }
        Ok(ended)
    }

    /// Returns where every component stands, in the order of [`Component::ALL`]. It takes 2 s at most, and borrows nothing.
    pub fn status(&self) -> impl Future<Output = Vec<ComponentStatus>> + Send + use<> {
        futures::future::join_all(Component::ALL.map(|component| self.component_status(component)))
    }

    /// Returns where a component stands.
    pub fn component_status(&self, component: Component) -> impl Future<Output = ComponentStatus> + Send + use<> {
        let path = if component == Component::NatsServer { "healthz" } else { "readiness" };
        let asked = self.http.get(format!("{}/{path}", self.config.http_url(component)));
        let (process, is_paused) = (self.process(component), self.is_paused(component));
        async move {
            let (state, detail) = match process {
                None => (State::Stopped, Some("not running".to_owned())),
                Some(_) if is_paused => (State::Paused, Some("paused".to_owned())),
                Some(_) => look(asked).await,
            };
            let (ready, detail) = (detail.is_none(), detail.unwrap_or_default());
            ComponentStatus { component: component.name().to_owned(), process, state, ready, detail }
        }
    }

    /// Returns the id of a component's process, while there is one.
    #[must_use]
    pub fn process(&self, component: Component) -> Option<u32> {
        match self.services.get(&component) {
            Some(service) => service.id(),
            None => self.nats.id(),
        }
    }

    /// Waits until a component is ready, 60 s at most.
    ///
    /// # Errors
    ///
    /// Where it ends, or does not become ready in time; it says what it waits for.
    pub async fn wait_until_ready(
        &mut self,
        component: Component,
        progress: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut reported = String::new();
        loop {
            let status = self.component_status(component).await;
            if status.ready {
                progress(&format!("{component} is ready: {}", self.config.http_url(component)));
                return Ok(());
            }
            let ended = self.ended()?;
            if let Some((_, how)) = ended.iter().find(|(ended, _)| *ended == component) {
                bail!("{component} ended ({how}) before it was ready; its log says why");
            }
            if status.process.is_none() {
                bail!("{component} does not run");
            }
            if start.elapsed() > READY_WITHIN {
                bail!("{component} is not ready after {} s: {}", READY_WITHIN.as_secs(), status.detail);
            }
            if status.detail != reported && start.elapsed() > Duration::from_secs(1) {
                progress(&format!("waiting for {component}: {}", status.detail));
                reported = status.detail;
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
        let stopping = running.map(|(component, service)| async move { (*component, service.stop().await) });
        let mut exits = BTreeMap::new();
        for (component, stopped) in futures::future::join_all(stopping).await {
            let exit =
                stopped?.map_or_else(|| "killed: it did not end in time".to_owned(), |exit| exit.to_string());
            exits.insert(component.name().to_owned(), exit);
        }
        for server in [&mut self.nats].into_iter().chain(&mut self.others) {
            server.stop().await?;
        }
        Ok(exits)
    }
}

/// Asks a running component how it is. Returns why it is not ready; nothing where it is.
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
pub fn nats_options(config: &ShopConfig, user: &str) -> NatsOptions {
    NatsOptions {
        nats_url: config.nats_url(),
        nats_user: Some(user.to_owned()),
        nats_password: Some(ShopConfig::password(user)),
    }
}

/// Starts nats-server, and where it belongs to a cluster, the others with it: each is ready when all are.
async fn start_nats(
    config: &ShopConfig,
    on_line: &OnLine,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<(NatsServer, Vec<NatsServer>)> {
    let program = nats::find_or_install(|step| progress(step)).await?;
    let conf = config.data.join("nats.conf");
    std::fs::write(&conf, NATS_CONF).with_context(|| format!("writing {}", conf.display()))?;
    let on_line = on_line.clone();
    let builder =
        NatsServer::builder(program).config(conf).on_line(move |line| on_line(Component::NatsServer, line));
    let builder = USERS
        .iter()
        .fold(builder, |builder, (user, variable)| builder.variable(*variable, ShopConfig::password(user)))
        // Most of what the server allocates is garbage at once: swept more rarely, it leaves more of the CPU for messages.
        // Near its limit it does nothing but sweep, so that is far off. It keeps the ids of two minutes, and the subjects of
        // all that its streams hold: 0.7 KB an order, and they have room for two million.
        .environment("GOGC", "400")
        .environment("GOMEMLIMIT", std::env::var("GOMEMLIMIT").as_deref().unwrap_or("4GiB"));
    let Some(cluster) = &config.cluster else {
        let monitor = config.ports[&Component::NatsServer];
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
pub fn settings(config: &ShopConfig, component: Component, on_line: &OnLine) -> ProgramSettings {
    let http_address = config.http_url(component).replace("http://", "");
    let mut variables = vec![
        ("NATS_URL".to_owned(), config.nats_url()),
        ("NATS_MONITOR_URL".to_owned(), config.monitor_urls()),
        ("NATS_USER".to_owned(), component.name().to_owned()),
        ("NATS_PASSWORD".to_owned(), ShopConfig::password(component.name())),
        ("HTTP_ADDRESS".to_owned(), http_address),
        ("ALLOWED_ORIGINS".to_owned(), config.page_origins().join(",")),
    ];
    if let Some(url) = config.database_url(component) {
        variables.push(("DATABASE_URL".to_owned(), url));
    }
    variables.extend(own_variables(config, component));
    variables.extend(config.variables.iter().cloned());
    variables.extend(config.own_variables.get(&component).into_iter().flatten().cloned());
    let on_line = on_line.clone();
    ProgramSettings {
        name: component.name().to_owned(),
        program: config.program.clone(),
        arguments: vec![component.name().to_owned()],
        variables,
        on_line: Arc::new(move |line| on_line(component, line)),
    }
}

/// What only this component is told.
fn own_variables(config: &ShopConfig, component: Component) -> Vec<(String, String)> {
    let file = |name: &str| config.data.join(name).display().to_string();
    let variables = match component {
        Component::NatsServer | Component::AccountService => vec![],
        Component::ApiGateway => vec![
            ("OPERATIONS", "true".to_owned()),
            ("OPERATOR_PASSWORD", ShopConfig::password(choreo::operator::OPERATOR)),
        ],
        Component::PaymentProvider => vec![("LEDGER", file("payment-provider.jsonl"))],
        Component::OrderService => vec![("STOCK_DEADLINE_SECONDS", config.stock_deadline_seconds.to_string())],
        Component::InventoryService => vec![("AUTOMATION_TESTING", "true".to_owned())],
        Component::PaymentService => vec![("PAYMENT_PROVIDER_URL", config.http_url(Component::PaymentProvider))],
        Component::NotificationService => vec![("MAIL_FOLDER", file("mail"))],
    };
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
