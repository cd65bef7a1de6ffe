//! The shop under measurement: started, filled with products and customers, and taken down again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::{Client, jetstream};
use contracts::topology::{API_GATEWAY, COMMANDS, EVENTS};
use demo::healthcheck::healthcheck;
use demo::provision::PROVISIONER;
use demo::shop::{nats_options, settings};
use demo::{Component, Databases, OnLine, Shop, ShopConfig};
use local_servers::{PostgresServer, Program, free_port, postgres};
use messaging::{Health, connection};

use crate::options::Setting;
use crate::orders::Orders;
use crate::sample::Sample;
use crate::seeding;
use crate::usage::{Counted, Processes};

/// How long an instance may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Events asked for at a time.
const PULL: usize = 1024;
/// Messages that may wait for a service: the most that the gateway can be configured with.
const MAX_BACKLOG: u64 = 1_000_000_000_000;

/// How far an order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chain {
    /// Until its stock is reserved; accounts, payments, and notifications are off.
    Short,
    /// Until it is confirmed and the customer is told.
    Whole,
}

impl Chain {
    /// Returns the services that have a part in it.
    #[must_use]
    pub fn services(self) -> &'static [Component] {
        match self {
            Self::Short => &[Component::OrderService, Component::InventoryService],
            Self::Whole => &[
                Component::OrderService,
                Component::InventoryService,
                Component::PaymentService,
                Component::NotificationService,
            ],
        }
    }

    /// Returns the components that run: the services, and what an order does not touch but needs to be there.
    #[must_use]
    pub fn components(self) -> Vec<Component> {
        let off = [
            Component::AccountService,
            Component::PaymentProvider,
            Component::PaymentService,
            Component::NotificationService,
        ];
        let runs = |component: &Component| self == Self::Whole || !off.contains(component);
        Component::SERVICES.into_iter().filter(runs).collect()
    }

    /// Returns the subject on which the last event of every order comes.
    #[must_use]
    pub fn last_event(self) -> &'static str {
        match self {
            Self::Short => "order.event.reserved.*",
            Self::Whole => "order.event.confirmed.*",
        }
    }

    /// Returns what the order service calls an order that has come to its end.
    #[must_use]
    pub fn last_status(self) -> &'static str {
        match self {
            Self::Short => "reserved",
            Self::Whole => "confirmed",
        }
    }
}

/// Where the services keep their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// An SQLite file a service.
    Sqlite,
    /// A PostgreSQL database a service, all on one server that syncs every commit.
    Postgres,
}

/// When the broker syncs what it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncMode {
    /// As often as the shop's configuration says.
    Default,
    /// Before every acknowledgement.
    Always,
}

/// A shop that is measured.
pub struct Stage {
    /// Its processes.
    pub shop: Shop,
    /// How far orders go.
    pub chain: Chain,
    /// What is ordered.
    pub orders: Orders,
    /// The number of the next order.
    pub next: u64,
    /// Whether commands are published in atomic batches.
    pub atomic: bool,
    /// How many orders are on their way at a time.
    pub window: u64,
    /// A connection in the gateway's name.
    pub client: Client,
    /// A connection that may change streams.
    pub provisioner: jetstream::Context,
    /// The messages of one order.
    pub sample: Sample,
    /// Processes of each service.
    instances: u64,
    /// Those beside the first, by name.
    others: BTreeMap<String, Program>,
    data: PathBuf,
    keep: bool,
    postgres: Option<PostgresServer>,
}

impl Stage {
    /// Starts a shop, opens accounts, fills shelves, and follows one order through it.
    ///
    /// # Errors
    ///
    /// Where a part does not start, or the one order does not come to its end.
    pub async fn start(setting: &Setting, progress: &(dyn Fn(&str) + std::marker::Sync)) -> anyhow::Result<Self> {
        if setting.instances > 1 && setting.database == Engine::Sqlite {
            bail!("several instances of a service need a database that they can share: --database postgres");
        }
        let data = folder(setting.data.as_deref())?;
        let program = match &setting.program {
            Some(program) => program.canonicalize().with_context(|| format!("finding {}", program.display()))?,
            None => own_program()?,
        };
        let mut config = ShopConfig::on_free_ports(program, data.clone());
        config.variables.push(("RUST_LOG".to_owned(), "warn".to_owned()));
        // In the short chain messages wait for services that are off.
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
            make_room(&provisioner, setting.atomic).await?;
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

    /// Starts the instances beside the first, and waits until they are ready.
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

    /// Returns the components that run in this chain, the broker and the database among them, and this program.
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

    /// Stops every service; the broker goes on.
    ///
    /// # Errors
    ///
    /// Where the operating system refuses.
    pub async fn stop_services(&mut self) -> anyhow::Result<()> {
        self.stop_others().await?;
        for component in self.chain.components() {
            self.shop.stop(component).await?;
        }
        Ok(())
    }

    /// Starts the services of this chain again and waits until they are ready.
    ///
    /// # Errors
    ///
    /// Where one does not become ready.
    pub async fn start_services(&mut self) -> anyhow::Result<()> {
        for component in self.chain.components() {
            self.shop.start_component(component).await?;
        }
        for component in self.chain.components() {
            self.shop.wait_until_ready(component, &|_| {}).await?;
        }
        self.start_others().await
    }

    /// Returns how many messages the streams of commands and events have had.
    ///
    /// # Errors
    ///
    /// Where the server does not tell.
    pub async fn messages(&self) -> anyhow::Result<u64> {
        let mut messages = 0;
        for stream in [COMMANDS, EVENTS] {
            messages += self.provisioner.get_stream(stream).await?.cached_info().state.last_sequence;
        }
        Ok(messages)
    }

    /// Returns what the streams hold, in words.
    ///
    /// # Errors
    ///
    /// If the server does not tell.
    pub async fn held(&self) -> anyhow::Result<String> {
        let mut held = Vec::new();
        for name in [COMMANDS, EVENTS] {
            let stream = self.provisioner.get_stream(name).await?;
            let state = &stream.cached_info().state;
            let discarded = state.first_sequence.saturating_sub(1);
            held.push(format!("{name} holds {} bytes and has discarded {discarded} messages", state.bytes));
        }
        Ok(held.join(", "))
    }

    /// Reads the last events of orders from now on, as they are in the stream: whoever subscribes to their subject hears
    /// of them before the stream has them.
    ///
    /// # Errors
    ///
    /// Where the server refuses.
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

    /// Takes the shop down and removes what it kept.
    ///
    /// # Errors
    ///
    /// Where the operating system refuses.
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

/// Makes the folder for the run, empty.
///
/// # Errors
///
/// Where a folder that was named is there and not empty, or none can be made.
pub fn folder(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = named.map_or_else(|| PathBuf::from(format!("data/bench-{}", std::process::id())), Path::to_owned);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    if std::fs::read_dir(&folder)?.next().is_some() {
        bail!("{} is not empty; what is measured begins with nothing", folder.display());
    }
    folder.canonicalize().context("finding the data folder")
}

/// Returns the file of this program.
///
/// # Errors
///
/// Where the operating system does not tell.
pub fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("finding this program's own file")
}

/// Starts PostgreSQL as it comes, with a database a service.
///
/// # Errors
///
/// Where it does not start.
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

/// Returns where the components' lines go: into one file, each with the name of who wrote it.
///
/// # Errors
///
/// Where the file cannot be made.
pub fn log(file: &Path) -> anyhow::Result<OnLine> {
    let file = Mutex::new(File::create(file).with_context(|| format!("writing {}", file.display()))?);
    Ok(Arc::new(move |component: Component, line: &str| {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written ends no measurement.
        let _ = writeln!(file, "{component:<20} | {line}");
    }))
}

/// Starts the server again with room for many orders and, where asked for, a sync before every acknowledgement.
async fn configure_server(shop: &mut Shop, data: &Path, sync: SyncMode) -> anyhow::Result<()> {
    let file = data.join("nats.conf");
    let conf = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let conf = configured(&conf, sync)?;
    std::fs::write(&file, conf).with_context(|| format!("writing {}", file.display()))?;
    shop.stop(Component::NatsServer).await?;
    shop.start_component(Component::NatsServer).await?;
    for component in Component::SERVICES {
        shop.wait_until_ready(component, &|_| {}).await?;
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
            bail!("nats.conf does not say {from:?} any more");
        }
        Ok(conf.replace(from, to))
    })
}

/// Lets the streams hold whatever comes and, where asked for, take atomic batches.
async fn make_room(provisioner: &jetstream::Context, atomic: bool) -> anyhow::Result<()> {
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
    fn the_configuration_of_the_store_can_be_told_to_sync_always() {
        let conf = configured(include_str!("../../nats.conf"), SyncMode::Always).unwrap();
        assert!(conf.contains("sync_interval: always") && !conf.contains("max_file_store: 12GB"));
        assert!(configured("jetstream {}", SyncMode::Default).is_err());
    }
}
