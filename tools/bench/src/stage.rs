//! The shop under measurement: started, seeded with products and accounts, and shut down again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::{Client, jetstream};
use choreography::user::NatsUser;
use choreography::{Health, connection};
use choreography_test::{PostgresServer, Program, free_port, postgres};
use contracts::topology::{API_GATEWAY, COMMANDS, EVENTS};
use demo::healthcheck::healthcheck;
use demo::provision::PROVISIONER;
use demo::shop::{nats_options, settings};
use demo::{Component, Databases, OnLine, Shop, ShopConfig};

use crate::chain::{Chain, Engine, SyncMode};
use crate::options::Setting;
use crate::orders::Orders;
use crate::sample::Sample;
use crate::seeding;
use crate::usage::{Counted, Processes};

/// How long an instance may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// The number of events per pull.
const PULL: usize = 1024;
/// The backlog limit that disables back-pressure: the maximum that the gateway can be configured with.
const MAX_BACKLOG: u64 = 1_000_000_000_000;

/// A shop under measurement.
pub struct Stage {
    /// The processes of the shop.
    pub shop: Shop,
    /// The part of the choreography that orders go through.
    pub chain: Chain,
    /// The orders.
    pub orders: Orders,
    /// The number of the next order.
    pub next: u64,
    /// Whether commands are published in atomic batches.
    pub atomic: bool,
    /// The number of orders in flight.
    pub window: u64,
    /// A connection as the gateway's user.
    pub client: Client,
    /// A connection as the user that may change streams.
    pub provisioner: jetstream::Context,
    /// The messages of one order.
    pub sample: Sample,
    /// The number of instances of each service.
    instances: u64,
    /// The instances after the first, by name.
    others: BTreeMap<String, Program>,
    data: PathBuf,
    keep: bool,
    postgres: Option<PostgresServer>,
}

impl Stage {
    /// Starts and seeds a shop, and takes the sample of one order.
    ///
    /// # Errors
    ///
    /// If a component does not start, or the order of the sample is not completed.
    pub async fn start(setting: &Setting, progress: &(dyn Fn(&str) + std::marker::Sync)) -> anyhow::Result<Self> {
        if setting.instances > 1 && setting.database == Engine::Sqlite {
            bail!("several instances of a service need a shared database: --database postgres");
        }
        let data = folder(setting.data.as_deref())?;
        let program = match &setting.program {
            Some(program) => program.canonicalize().with_context(|| format!("finding {}", program.display()))?,
            None => own_program()?,
        };
        let mut config = ShopConfig::on_free_ports(program, data.clone());
        config.variables.push(("RUST_LOG".to_owned(), "warn".to_owned()));
        // In the short chain, messages remain unconsumed because services are stopped.
        if !setting.shipped_limits {
            let no_limit = vec![("MAX_BACKLOG".to_owned(), MAX_BACKLOG.to_string())];
            config.own_variables.insert(Component::ApiGateway, no_limit);
        }
        let postgres = match setting.database {
            Engine::Sqlite => None,
            Engine::Postgres => Some(start_postgres(&data, &mut config).await?),
        };
        let mut shop = Shop::start(config, log(&data.join("components.log"))?, progress).await?;
        configure_server(&mut shop, &data, setting.sync).await?;
        let provisioner =
            connection::connect(&nats_options(shop.config(), PROVISIONER), PROVISIONER, &Health::default()).await?;
        let provisioner = connection::jetstream(&provisioner);
        if !setting.shipped_limits {
            lift_limits(&provisioner, setting.atomic).await?;
        }
        let client =
            connection::connect(&nats_options(shop.config(), API_GATEWAY), API_GATEWAY, &Health::default()).await?;
        client.flush().await.context("connecting to nats-server")?;

        let run = uuid::Uuid::new_v4().as_fields().0;
        let orders = Orders { run, customers: setting.customers, products: setting.products, lines: setting.lines };
        seeding::products(shop.config(), orders.products).await?;
        if setting.chain == Chain::Whole {
            seeding::accounts(shop.config(), orders.customers).await?;
        }
        for component in
            Component::SERVICES.into_iter().filter(|component| !setting.chain.components().contains(component))
        {
            shop.stop(component).await?;
        }
        let sample =
            Sample::take(&client, &provisioner, setting.chain, orders.command(0, 0)?, &orders.id(0)).await?;
        progress(&format!("an order is {}", sample.describe()));
        let mut stage = Self {
            shop,
            chain: setting.chain,
            orders,
            next: 1,
            atomic: setting.atomic,
            window: setting.window,
            client,
            provisioner,
            sample,
            instances: setting.instances,
            others: BTreeMap::new(),
            data,
            keep: setting.keep,
            postgres,
        };
        stage.start_others().await?;
        Ok(stage)
    }

    /// Starts the instances after the first, and waits until they are ready.
    async fn start_others(&mut self) -> anyhow::Result<()> {
        let on_line = log(&self.data.join("instances.log"))?;
        for number in 2..=self.instances {
            for component in self.chain.services() {
                let address = format!("127.0.0.1:{}", free_port());
                let mut settings = settings(self.shop.config(), *component, &on_line);
                settings.variables.push(("HTTP_ADDRESS".to_owned(), address.clone()));
                self.others.insert(format!("{component} {number}"), Program::start(settings)?);
                let ready = async {
                    while healthcheck(&format!("http://{address}/readiness")).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                };
                let ready = tokio::time::timeout(READY_WITHIN, ready).await;
                ready.with_context(|| format!("instance {number} of {component} does not become ready"))?;
            }
        }
        Ok(())
    }

    async fn stop_others(&mut self) -> anyhow::Result<()> {
        for (_, mut other) in std::mem::take(&mut self.others) {
            other.stop().await?;
        }
        Ok(())
    }

    /// Returns the processes to measure: the components of this chain, the broker, the database, and this program.
    #[must_use]
    pub fn processes(&self) -> Processes {
        let components = [Component::NatsServer].into_iter().chain(self.chain.components());
        let mut processes: Processes = components
            .filter_map(|component| {
                Some((component.name().to_owned(), Counted::Alone(self.shop.process(component)?)))
            })
            .collect();
        let others = self.others.iter();
        processes.extend(others.filter_map(|(name, other)| Some((name.clone(), Counted::Alone(other.id()?)))));
        if let Some(id) = self.postgres.as_ref().and_then(PostgresServer::id) {
            processes.insert("postgres".to_owned(), Counted::Family(id));
        }
        processes.insert("bench".to_owned(), Counted::Alone(std::process::id()));
        processes
    }

    /// Stops every service, but not the broker.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub async fn stop_services(&mut self) -> anyhow::Result<()> {
        self.stop_others().await?;
        for component in self.chain.components() {
            self.shop.stop(component).await?;
        }
        Ok(())
    }

    /// Restarts the services of this chain, and waits until they are ready.
    ///
    /// # Errors
    ///
    /// If a service does not become ready.
    pub async fn start_services(&mut self) -> anyhow::Result<()> {
        for component in self.chain.components() {
            self.shop.start_component(component).await?;
        }
        for component in self.chain.components() {
            self.shop.wait_until_ready(component, &|_| {}).await?;
        }
        self.start_others().await
    }

    /// Returns the number of messages that COMMANDS and EVENTS have ever stored.
    ///
    /// # Errors
    ///
    /// If nats-server does not respond.
    pub async fn messages(&self) -> anyhow::Result<u64> {
        let mut messages = 0;
        for stream in [COMMANDS, EVENTS] {
            messages += self.provisioner.get_stream(stream).await?.cached_info().state.last_sequence;
        }
        Ok(messages)
    }

    /// Describes the state of COMMANDS and EVENTS in a sentence.
    ///
    /// # Errors
    ///
    /// If nats-server does not respond.
    pub async fn describe_streams(&self) -> anyhow::Result<String> {
        let mut states = Vec::new();
        for name in [COMMANDS, EVENTS] {
            let stream = self.provisioner.get_stream(name).await?;
            let state = &stream.cached_info().state;
            let removed = state.first_sequence.saturating_sub(1);
            states.push(format!("{name} has {} bytes and has removed {removed} messages", state.bytes));
        }
        Ok(states.join(", "))
    }

    /// Returns the folder of streams, databases, and logs.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Adds a user to the configuration of nats-server, and restarts it.
    ///
    /// # Errors
    ///
    /// If the file cannot be changed, or nats-server does not start.
    pub async fn add_user(&mut self, user: &NatsUser, password: &str) -> anyhow::Result<()> {
        let file = self.data.join("nats.conf");
        let conf = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let users = conf.trim_end().strip_suffix("]\n}").context("nats.conf does not end with its users")?;
        let variable = format!("${}_PASSWORD", user.name.to_uppercase().replace('-', "_"));
        let user = user.to_string().replace(&variable, &format!("{password:?}"));
        std::fs::write(&file, format!("{users}{user}\n]\n}}\n"))
            .with_context(|| format!("writing {}", file.display()))?;
        restart_server(&mut self.shop, &self.chain.components()).await
    }

    /// Consumes the last events of orders from the stream, from now on. A plain subscription would receive them before
    /// they are stored.
    ///
    /// # Errors
    ///
    /// If nats-server refuses.
    pub async fn follow(&self) -> anyhow::Result<pull::Stream> {
        let config = pull::Config {
            name: Some(format!("bench-{}", uuid::Uuid::new_v4().simple())),
            filter_subject: self.chain.last_event().to_owned(),
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::None,
            memory_storage: true,
            inactive_threshold: Duration::from_secs(60),
            ..pull::Config::default()
        };
        let stream = self.provisioner.get_stream(EVENTS).await?;
        let consumer = stream.create_consumer(config).await.context("following the events")?;
        let pulling = consumer.stream().max_messages_per_batch(PULL).heartbeat(Duration::from_secs(5));
        Ok(pulling.expires(Duration::from_secs(30)).messages().await?)
    }

    /// Shuts the shop down, and removes its data unless it is to be kept.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub async fn finish(mut self) -> anyhow::Result<()> {
        self.stop_others().await?;
        self.shop.shut_down().await?;
        drop(self.postgres);
        if !self.keep {
            std::fs::remove_dir_all(&self.data).with_context(|| format!("removing {}", self.data.display()))?;
        }
        Ok(())
    }
}

/// Creates the empty folder for the run.
///
/// # Errors
///
/// If the folder exists and is not empty, or cannot be created.
pub fn folder(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = named.map_or_else(|| PathBuf::from(format!("data/bench-{}", std::process::id())), Path::to_owned);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    if std::fs::read_dir(&folder)?.next().is_some() {
        bail!("{} is not empty; choose an empty or new folder for the benchmark", folder.display());
    }
    folder.canonicalize().context("finding the data folder")
}

/// Returns the path of this program.
///
/// # Errors
///
/// If the operating system does not report it.
pub fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("finding this program's own file")
}

/// Starts PostgreSQL with its default configuration, and creates one database per service.
///
/// # Errors
///
/// If it does not start.
pub async fn start_postgres(data: &Path, config: &mut ShopConfig) -> anyhow::Result<PostgresServer> {
    let bin = postgres::find_or_install(|_| {}).await?;
    let server = PostgresServer::builder(bin).port(free_port()).data_dir(data.join("postgres")).start().await?;
    let mut urls = BTreeMap::new();
    for component in Component::WITH_DATABASE {
        urls.insert(component, server.create_database(&component.name().replace('-', "_")).await?);
    }
    config.databases = Databases::Postgres(urls);
    Ok(server)
}

/// Returns a callback that writes the components' log lines to a file, each with the component's name.
///
/// # Errors
///
/// If the file cannot be created.
pub fn log(file: &Path) -> anyhow::Result<OnLine> {
    let file = Mutex::new(File::create(file).with_context(|| format!("writing {}", file.display()))?);
    Ok(Arc::new(move |component: Component, line: &str| {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A failure to write the log must not end the measurement.
        let _ = writeln!(file, "{component:<20} | {line}");
    }))
}

/// Restarts nats-server with storage for many orders and, with [`SyncMode::Always`], a sync before every ack.
async fn configure_server(shop: &mut Shop, data: &Path, sync: SyncMode) -> anyhow::Result<()> {
    let file = data.join("nats.conf");
    let conf = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let conf = configured(&conf, sync)?;
    std::fs::write(&file, conf).with_context(|| format!("writing {}", file.display()))?;
    restart_server(shop, &Component::SERVICES).await
}

/// Restarts nats-server, and waits until these components are ready again.
async fn restart_server(shop: &mut Shop, components: &[Component]) -> anyhow::Result<()> {
    shop.stop(Component::NatsServer).await?;
    shop.start_component(Component::NatsServer).await?;
    for component in components {
        shop.wait_until_ready(*component, &|_| {}).await?;
    }
    Ok(())
}

fn configured(conf: &str, sync: SyncMode) -> anyhow::Result<String> {
    let mut changes = vec![("max_file_store: 12GB", "max_file_store: 1TB")];
    if sync == SyncMode::Always {
        changes.push(("sync_interval: 10s", "sync_interval: always"));
    }
    changes.into_iter().try_fold(conf.to_owned(), |conf, (from, to)| {
        if !conf.contains(from) {
            bail!("nats.conf does not contain {from:?}");
        }
        Ok(conf.replace(from, to))
    })
}

/// Lifts the size limits of the streams and, if `atomic`, allows atomic batches.
async fn lift_limits(provisioner: &jetstream::Context, atomic: bool) -> anyhow::Result<()> {
    for name in [COMMANDS, EVENTS] {
        let mut config = provisioner.get_stream(name).await?.cached_info().config.clone();
        config.max_bytes = -1;
        config.allow_atomic_publish |= atomic;
        provisioner.update_stream(config).await.with_context(|| format!("changing the stream {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_can_be_changed_to_sync_always() {
        let conf = configured(include_str!("../../../nats.conf"), SyncMode::Always).unwrap();
        assert!(conf.contains("sync_interval: always") && !conf.contains("max_file_store: 12GB"));
        assert!(configured("jetstream {}", SyncMode::Default).is_err());
    }
}
