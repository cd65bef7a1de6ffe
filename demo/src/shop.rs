//! The shop as processes: started, killed, stopped, paused, and restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use choreography::connection::NatsOptions;
use choreography::credentials::NatsCredentials;
use choreography::http;
use choreography_test::nats::Routes;
use choreography_test::{NatsServer, Program, ProgramSettings, nats};
use serde_json::Value;

use crate::component::Component;
use crate::config::{Cluster, Secrets, ServerPorts, ShopConfig, USERS};
use crate::nkeys;
use crate::provision::{PROVISIONER, provision_for};

/// The configuration of the broker: `nats.conf` of the repository.
const NATS_CONF: &str = include_str!("../../nats.conf");

/// How long a component may take to become ready.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a component may take to report its readiness.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A callback for each line of the components' logs.
pub type OnLine = Arc<dyn Fn(Component, &str) + Send + Sync>;

/// The state of a component's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The process runs; see [`ComponentStatus::ready`] for its readiness.
    Running,
    /// The process was paused and not resumed.
    Paused,
    /// The component has no process.
    Stopped,
    /// The process does not listen on its HTTP port yet.
    Starting,
}

/// The status of a component.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// The name of the component.
    pub component: String,
    /// The id of its process, if it runs.
    pub process: Option<u32>,
    /// The state of its process.
    pub state: State,
    /// Whether it is ready.
    pub ready: bool,
    /// Why it is not ready; empty if it is.
    pub detail: String,
}

/// A running shop. It kills its processes on drop.
pub struct Shop {
    config: ShopConfig,
    nats: NatsServer,
    /// The other servers of its cluster.
    others: Vec<NatsServer>,
    services: BTreeMap<Component, Program>,
    /// Components that were paused and not resumed.
    paused: BTreeSet<Component>,
    http: reqwest::Client,
    on_line: OnLine,
}

impl Shop {
    /// Starts the broker, provisions the streams, starts every service, and waits until all are ready.
    ///
    /// `progress` gets one sentence per step, `on_line` every line of the components' logs.
    ///
    /// # Errors
    ///
    /// If a component does not start or does not become ready; the error names it.
    pub async fn start(
        config: ShopConfig,
        on_line: OnLine,
        progress: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&config.data)
            .with_context(|| format!("making the data folder {}", config.data.display()))?;
        let (nats, others) = start_nats(&config, &on_line, progress).await?;
        progress(&format!("nats-server listens on {}", config.nats_url()));
        provision_for(&nats_options(&config, PROVISIONER), config.replicas(), config.auth).await?;
        progress("streams and consumers are provisioned");

        let mut services = BTreeMap::new();
        for component in config.services() {
            services.insert(component, Program::start(settings(&config, component, &on_line))?);
        }
        // Each probe needs a new connection: an open one would not show that a process accepts no others.
        let http = http::builder(ANSWER_TIMEOUT).pool_max_idle_per_host(0).build()?;
        let mut shop = Self { config, nats, others, services, paused: BTreeSet::new(), http, on_line };
        for component in shop.config.services() {
            shop.wait_until_ready(component, progress).await?;
        }
        Ok(shop)
    }

    /// Returns the configuration of the shop.
    #[must_use]
    pub fn config(&self) -> &ShopConfig {
        &self.config
    }

    /// Returns a nats-server by its number: 0 is the component, the others are the rest of its cluster.
    pub fn server(&mut self, number: usize) -> Option<&mut NatsServer> {
        match number {
            0 => Some(&mut self.nats),
            _ => self.others.get_mut(number - 1),
        }
    }

    /// Sets the own environment variables of a service from its next start on; a running process keeps its environment.
    pub fn set_variables(&mut self, component: Component, variables: Vec<(String, String)>) {
        self.config.own_variables.insert(component, variables);
        if let Some(service) = self.services.get_mut(&component) {
            service.change(settings(&self.config, component, &self.on_line));
        }
    }

    /// Kills a component (SIGKILL): work in progress is interrupted.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub fn kill(&mut self, component: Component) -> anyhow::Result<()> {
        match self.services.get_mut(&component) {
            Some(service) => Ok(service.kill()?),
            None => Ok(self.nats.kill()?),
        }
    }

    /// Stops a component (SIGTERM) and waits until it has ended. Returns the exit status of a service.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
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
    /// If it does not start.
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

    /// Pauses (SIGSTOP) or resumes (SIGCONT) a component.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
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

    /// Returns whether a component is paused.
    #[must_use]
    pub fn is_paused(&self, component: Component) -> bool {
        self.process(component).is_some() && self.paused.contains(&component)
    }

    /// Returns the components that ended by themselves since the last call, with their exit status.
    ///
    /// # Errors
    ///
    /// If the operating system does not report the status of a process.
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

    /// Returns the status of every component, in the order of [`ShopConfig::components`]. The future takes at most 2 s, and
    /// borrows nothing.
    pub fn status(&self) -> impl Future<Output = Vec<ComponentStatus>> + Send + use<> {
        futures::future::join_all(
            self.config.components().into_iter().map(|component| self.component_status(component)),
        )
    }

    /// Returns the status of a component.
    pub fn component_status(&self, component: Component) -> impl Future<Output = ComponentStatus> + Send + use<> {
        let path = if component == Component::NatsServer { "healthz" } else { "readiness" };
        let request = self.http.get(format!("{}/{path}", self.config.http_url(component)));
        let (process, is_paused) = (self.process(component), self.is_paused(component));
        async move {
            let (state, detail) = match process {
                None => (State::Stopped, Some("not running".to_owned())),
                Some(_) if is_paused => (State::Paused, Some("paused".to_owned())),
                Some(_) => probe(request).await,
            };
            let (ready, detail) = (detail.is_none(), detail.unwrap_or_default());
            ComponentStatus { component: component.name().to_owned(), process, state, ready, detail }
        }
    }

    /// Returns the id of a component's process, if it runs.
    #[must_use]
    pub fn process(&self, component: Component) -> Option<u32> {
        match self.services.get(&component) {
            Some(service) => service.id(),
            None if component == Component::NatsServer => self.nats.id(),
            None => None,
        }
    }

    /// Waits until a component is ready, at most 60 s.
    ///
    /// # Errors
    ///
    /// If it ends, or does not become ready in time; the error has the failing readiness checks.
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
            if let Some((_, status)) = ended.iter().find(|(ended, _)| *ended == component) {
                bail!("{component} ended ({status}) before it was ready; see its log");
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

    /// Stops the services, then the broker. Returns per service its exit status, or that it had to be killed.
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

/// Probes the readiness of a running component. Returns its state, and the reason if it is not ready.
async fn probe(request: reqwest::RequestBuilder) -> (State, Option<String>) {
    let response = match request.send().await {
        Ok(response) if response.status().is_success() => return (State::Running, None),
        Ok(response) => response.json::<Value>().await,
        Err(error) if error.is_connect() => return (State::Starting, Some("it does not respond yet".to_owned())),
        Err(_) => return (State::Running, Some("it does not respond".to_owned())),
    };
    let readiness = response.unwrap_or_default();
    let failing = readiness["checks"].as_object().into_iter().flatten().filter(|(_, check)| check["ok"] != true);
    let reasons: Vec<String> =
        failing.map(|(name, check)| format!("{name}: {}", check["detail"].as_str().unwrap_or("?"))).collect();
    (State::Running, Some(reasons.join("; ")))
}

/// Returns the connection options of a user.
#[must_use]
pub fn nats_options(config: &ShopConfig, user: &str) -> NatsOptions {
    let without = NatsOptions {
        nats_url: config.nats_url(),
        nats_user: Some(user.to_owned()),
        nats_password: None,
        nats_credentials: NatsCredentials::default(),
    };
    let of_files = |nats_credentials| NatsOptions { nats_credentials, ..without.clone() };
    match &config.secrets {
        Secrets::Passwords => NatsOptions { nats_password: Some(ShopConfig::password(user)), ..without },
        Secrets::PasswordFiles(folder) => {
            of_files(NatsCredentials { nats_password_file: Some(folder.clone()), ..NatsCredentials::default() })
        }
        Secrets::Nkeys(folder) => {
            of_files(NatsCredentials { nats_nkey_file: Some(folder.clone()), ..NatsCredentials::default() })
        }
    }
}

/// Returns the variables with the secret of a component's user.
fn secret(config: &ShopConfig, component: Component) -> Vec<(String, String)> {
    let path = |folder: &PathBuf| folder.display().to_string();
    let (variable, value) = match &config.secrets {
        Secrets::Passwords => ("NATS_PASSWORD", ShopConfig::password(component.name())),
        // Folders, because the gateway connects as two users.
        Secrets::PasswordFiles(folder) => ("NATS_PASSWORD_FILE", path(folder)),
        Secrets::Nkeys(folder) => ("NATS_NKEY_FILE", path(folder)),
    };
    let mut variables = vec![(variable.to_owned(), value)];
    if matches!(config.secrets, Secrets::Passwords) && component == Component::ApiGateway {
        let password = ShopConfig::password(choreography_ops::OPERATOR);
        variables.push(("OPERATOR_PASSWORD".to_owned(), password));
    }
    variables
}

/// Starts nats-server, and the other servers of its cluster if it has one: each becomes ready only with the others.
async fn start_nats(
    config: &ShopConfig,
    on_line: &OnLine,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<(NatsServer, Vec<NatsServer>)> {
    let program = nats::find_or_install(|step| progress(step)).await?;
    let conf = config.data.join("nats.conf");
    let text = match &config.secrets {
        Secrets::Passwords => NATS_CONF.to_owned(),
        Secrets::PasswordFiles(folder) => with_passwords(folder)?,
        Secrets::Nkeys(folder) => {
            let written = nkeys::write(folder, None)?;
            std::fs::read_to_string(&written.config)
                .with_context(|| format!("reading {}", written.config.display()))?
        }
    };
    std::fs::write(&conf, text).with_context(|| format!("writing {}", conf.display()))?;
    let on_line = on_line.clone();
    let builder =
        NatsServer::builder(program).config(conf).on_line(move |line| on_line(Component::NatsServer, line));
    let builder = USERS
        .iter()
        .fold(builder, |builder, (user, variable)| builder.variable(*variable, ShopConfig::password(user)))
        // Most allocations of nats-server are short-lived: collecting garbage less often leaves more CPU for messages.
        // Near the memory limit it would do nothing but collect, so the limit is high. nats-server keeps in memory the
        // message ids of two minutes, and the subjects of all stored messages: 1 KB per order, for up to 700,000 small ones.
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

/// Returns the configuration with the passwords of a folder. nats-server prefers variables of its configuration to those of
/// its environment, which cannot change in operation.
///
/// # Errors
///
/// If a password cannot be read.
pub fn with_passwords(folder: &Path) -> anyhow::Result<String> {
    let mut config = String::new();
    for (user, variable) in USERS {
        let file = folder.join(format!("{user}.password"));
        let password = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        config.push_str(&format!("{variable}: {:?}\n", password.trim()));
    }
    Ok(config + NATS_CONF)
}

/// Returns the routes of a server to the others of its cluster.
fn routes(cluster: &Cluster, number: usize, ports: ServerPorts) -> Routes {
    let others = cluster.servers.iter().enumerate().filter(|(other, _)| *other != number).map(|(other, ports)| {
        let port = cluster.detours.get(&(number, other)).copied().unwrap_or(ports.routes);
        format!("nats://127.0.0.1:{port}")
    });
    // With detours, no server may learn the direct address of another: nothing listens on port 1.
    let advertise = if cluster.detours.is_empty() { ports.routes } else { 1 };
    Routes {
        cluster: "store".to_owned(),
        port: ports.routes,
        advertise: format!("127.0.0.1:{advertise}"),
        others: others.collect(),
    }
}

/// Returns the command line and environment of a service.
#[must_use]
pub fn settings(config: &ShopConfig, component: Component, on_line: &OnLine) -> ProgramSettings {
    let http_address = config.http_url(component).replace("http://", "");
    let mut variables = vec![
        ("NATS_URL".to_owned(), config.nats_url()),
        ("NATS_MONITOR_URL".to_owned(), config.monitor_urls()),
        ("NATS_USER".to_owned(), component.name().to_owned()),
        ("HTTP_ADDRESS".to_owned(), http_address),
        ("ALLOWED_ORIGINS".to_owned(), config.dashboard_origins().join(",")),
    ];
    variables.extend(secret(config, component));
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

/// Returns the variables that only this component gets.
fn own_variables(config: &ShopConfig, component: Component) -> Vec<(String, String)> {
    let file = |name: &str| config.data.join(name).display().to_string();
    let variables = match component {
        Component::NatsServer | Component::AccountService | Component::ProjectionService => vec![],
        Component::ApiGateway => {
            vec![("AUTH", if config.auth { "on" } else { "off" }.to_owned()), ("OPERATIONS", "true".to_owned())]
        }
        Component::PaymentProvider => vec![("LEDGER", file("payment-provider.jsonl"))],
        Component::OrderService => vec![("STOCK_DEADLINE_SECONDS", config.stock_deadline_seconds.to_string())],
        Component::IdentityService => vec![("DEMO_USERS", "true".to_owned())],
        Component::InventoryService => vec![("AUTOMATION_TESTING", "true".to_owned())],
        Component::PaymentService => vec![("PAYMENT_PROVIDER_URL", config.http_url(Component::PaymentProvider))],
        Component::NotificationService => vec![("MAIL_FOLDER", file("mail"))],
    };
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
