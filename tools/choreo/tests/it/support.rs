//! A shop of one service, which can be made to fail.

use contracts::declaration::topology;
use std::collections::HashSet;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::{ConnectOptions, HeaderMap};
use choreography::connection::NatsOptions;
use choreography::credentials::NatsCredentials;
use choreography::database::Databases;
use choreography::durability::DurabilityOptions;
use choreography::listener::HttpOptions;
use choreography::storage::StorageOptions;
use choreography::{
    DecodeError, Envelope, HandleError, Handler, Message, MessageInfo, Messages, Outgoing, Service, ServiceOptions,
    Topology, migration, stats,
};
use choreography_ops::Operator;
use choreography_test::{TestNats, free_port};
use contracts::order::{OrderPlaced, PlaceOrder};
use sea_orm::DatabaseTransaction;
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Emits an event for each command, except for barred keys.
#[derive(Clone, Default)]
pub(crate) struct Echo<M = Commands> {
    pub(crate) barred: Arc<Mutex<HashSet<String>>>,
    /// Keys whose messages fail and may succeed later.
    pub(crate) failing: Arc<Mutex<HashSet<String>>>,
    /// The ids of the handled messages, including those rolled back afterwards.
    pub(crate) handled: Arc<Mutex<Vec<Uuid>>>,
    messages: PhantomData<fn() -> M>,
}

/// The commands of order-service, with any body.
#[derive(Clone, Default)]
pub(crate) struct Commands;

impl Messages for Commands {
    const MESSAGES: &'static [MessageInfo] = &[PlaceOrder::INFO];

    fn decode(message_type: &str, _: &[u8]) -> Result<Self, DecodeError> {
        match message_type {
            "order.strange.v1" => Err(DecodeError::UnknownType(message_type.to_owned())),
            _ => Ok(Self),
        }
    }
}

/// The events of order-service, with any body.
#[derive(Clone, Default)]
pub(crate) struct Events;

impl Messages for Events {
    const MESSAGES: &'static [MessageInfo] = &[OrderPlaced::INFO];

    fn decode(_: &str, _: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

impl<M: Messages + Send + Sync + 'static> Handler for Echo<M> {
    type Message = M;

    async fn handle(&self, _: &DatabaseTransaction, batch: &[&Envelope<M>]) -> Result<Vec<Outgoing>, HandleError> {
        let (barred, failing) = (self.barred.lock().unwrap(), self.failing.lock().unwrap());
        let echo = |message: &&Envelope<M>| {
            let key = &message.key;
            if barred.contains(key) {
                return Err(HandleError::Reject(format!("{key} is barred")));
            }
            if failing.contains(key) {
                return Err(HandleError::Retry(anyhow::anyhow!("{key} fails")));
            }
            self.handled.lock().unwrap().push(message.id);
            let (context, name) = if message.message_type == "order.placed.v1" {
                ("inventory", "reserved")
            } else {
                ("order", "placed")
            };
            let subject = format!("{context}.event.{name}.{key}");
            let message_type = if context == "order" { "order.placed.v1" } else { "inventory.reserved.v1" };
            Ok(Outgoing::new(message.cause(), subject, message_type, key, None, b"{}".into()))
        };
        batch.iter().map(echo).collect()
    }
}

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        migration::library()
    }
}

/// A provisioned nats-server with the shop's configuration.
pub(crate) struct Shop {
    pub(crate) nats: TestNats,
    /// Connected as the inspector.
    pub(crate) js: jetstream::Context,
    gateway: jetstream::Context,
    folder: PathBuf,
}

impl Shop {
    pub(crate) async fn start() -> Self {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nats.conf");
        let text = std::fs::read_to_string(&config).unwrap();
        let users = text.lines().filter_map(|line| line.trim().strip_prefix("user: ")?.split(',').next());
        let variables: Vec<(String, String)> = users
            .map(|user| (format!("{}_PASSWORD", user.to_uppercase().replace('-', "_")), "secret".to_owned()))
            .collect();
        let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let nats = TestNats::with_config(&config, variables).await.unwrap();
        let topology = topology().unwrap();
        topology.provision(&connect(&nats, "provisioner").await, 1).await.unwrap();
        let folder = std::env::temp_dir().join(format!("choreo-test-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let (js, gateway) = (connect(&nats, "inspector").await, connect(&nats, "api-gateway").await);
        Self { nats, js, gateway, folder }
    }

    fn url(&self, name: &str) -> String {
        format!("sqlite://{}/{name}.sqlite?mode=rwc", self.folder.display())
    }

    pub(crate) fn options(&self, user: &str) -> NatsOptions {
        NatsOptions {
            nats_url: self.nats.url(),
            nats_user: Some(user.to_owned()),
            nats_password: Some("secret".to_owned()),
            nats_credentials: NatsCredentials::default(),
        }
    }

    pub(crate) async fn operator(&self) -> Operator {
        Operator::connect(&self.options("operator"), choreo::shop().unwrap()).await.unwrap()
    }

    /// Starts the service and waits until it is ready.
    pub(crate) async fn serve(&self, handler: Echo) -> Serving {
        self.serve_as("order-service", handler).await
    }

    /// Starts a service under another name, with a database of its own.
    pub(crate) async fn serve_as<M>(&self, name: &'static str, handler: Echo<M>) -> Serving
    where
        M: Messages + Send + Sync + 'static,
    {
        let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        // It consumes less than the shop's service of that name.
        let topology = Topology { consumers: Vec::new(), ..topology().unwrap() };
        let service = Service::builder(name)
            .topology(topology)
            .handler(handler)
            .http(address)
            .database(Databases::open::<Migrator>(&self.url(name)).await.unwrap())
            .build()
            .unwrap();
        let options = ServiceOptions {
            durability: DurabilityOptions::default(),
            http: HttpOptions::default(),
            storage: StorageOptions::default(),
            nats: self.options(name),
            database_url: None,
            retention_seconds: 8 * 24 * 3600,
            cleanup_seconds: 60,
            max_attempts: 3,
        };
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let task = tokio::spawn(async move { service.run(&options, token).await });
        // The last endpoints are registered after the service is announced.
        let client = self.gateway.client();
        eventually("the service answers", || async {
            client.request(stats::subject(name), "".into()).await.is_ok()
        })
        .await;
        Serving { task, shutdown }
    }

    /// Publishes a command as the gateway does.
    pub(crate) async fn command(&self, name: &str, key: &str) -> Uuid {
        let id = Uuid::now_v7();
        self.command_with_id(id, name, key).await;
        id
    }

    /// Publishes without the header by which streams deduplicate, so that the stream stores every copy.
    pub(crate) async fn command_with_id(&self, id: Uuid, name: &str, key: &str) {
        let mut headers = HeaderMap::new();
        for (header, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", &id.to_string()),
            ("ce-type", &format!("order.{name}.v1")),
            ("ce-source", "/api-gateway"),
            ("ce-subject", key),
            ("ce-time", &choreography::envelope::rfc3339(time::OffsetDateTime::now_utc())),
        ] {
            headers.insert(header, value);
        }
        let subject = format!("order.command.{name}.{key}");
        self.gateway.publish_with_headers(subject, headers, "{\"a\":1}".into()).await.unwrap().await.unwrap();
    }

    pub(crate) async fn messages(&self, stream: &str) -> u64 {
        self.js.get_stream(stream).await.unwrap().cached_info().state.messages
    }

    pub(crate) async fn has(&self, stream: &str, count: u64) {
        eventually(&format!("{stream} has {count}"), || async { self.messages(stream).await == count }).await;
    }

    /// Runs the program with JSON output.
    pub(crate) async fn choreo(&self, arguments: &[&str]) -> Output {
        let url = self.nats.url();
        let mut all = vec!["--nats-url", &url, "--json"];
        all.extend(arguments);
        self.run(&all).await
    }

    /// Starts the program with JSON output, to be killed or read from.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_choreo"))
            .args(["--nats-url", &self.nats.url(), "--json"])
            .args(arguments)
            .env("OPERATOR_PASSWORD", "secret")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Runs the program.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_choreo"))
            .args(arguments)
            .env("OPERATOR_PASSWORD", "secret")
            .output()
            .await
            .unwrap()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) async fn connect(nats: &TestNats, user: &str) -> jetstream::Context {
    let options = ConnectOptions::with_user_and_password(user.to_owned(), "secret".to_owned())
        .custom_inbox_prefix(format!("_INBOX_{user}"));
    jetstream::new(options.connect(nats.url()).await.unwrap())
}

/// The running service.
pub(crate) struct Serving {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Serving {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Waits until a condition is true, for at most five minutes.
pub(crate) async fn eventually<F, Fut>(what: &str, condition: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(300), "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
