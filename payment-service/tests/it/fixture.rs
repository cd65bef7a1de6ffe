//! The whole service on a real nats-server, a real database, and the provider's real program.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::{self, message::StreamMessage, stream::Stream};
use choreography::Publish as _;
use choreography::publisher::{Command, Publisher};
use choreography_test::free_port;
use choreography_test::nats::TestNats;
use clap::Parser;
use contracts::declaration::topology;
use contracts::query::PaymentReconciliation;
use contracts::topology::EVENTS;
use payment_service::Config;
use payment_service::entity::payment::{Entity, Model, Status};
use payment_service::payment::PaymentMessage;
use payment_service::provider::{HttpProvider, PaymentProvider};
use sea_orm::{ConnectionTrait, EntityTrait};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database::{Engine, TestDatabase, scratch};
use crate::given::{placed, reserved};

/// The time limit of every wait.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until a condition is true.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < TIMEOUT, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The provider's program, as a library.
pub(crate) struct Provider {
    pub(crate) url: String,
    http: reqwest::Client,
    running: JoinHandle<anyhow::Result<()>>,
    directory: PathBuf,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let directory = scratch("provider");
        let address = format!("127.0.0.1:{}", free_port());
        let config = payment_provider::Config {
            http_address: address.parse().unwrap(),
            http: choreography::listener::HttpOptions::default(),
            ledger: directory.join("ledger.jsonl"),
        };
        let running = tokio::spawn(payment_provider::run(config, CancellationToken::new()));
        let provider = Self {
            url: format!("http://{address}"),
            http: choreography::http::client(std::time::Duration::from_secs(300)).unwrap(),
            running,
            directory,
        };
        eventually("the provider responds", || async { provider.get("/readiness").await.is_ok() }).await;
        provider
    }

    async fn get(&self, path: &str) -> reqwest::Result<Value> {
        self.http.get(format!("{}{path}", self.url)).send().await?.json().await
    }

    pub(crate) async fn behave(&self, behaviour: Value) {
        let request = self.http.put(format!("{}/behaviour", self.url)).json(&behaviour);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    /// Captures a payment as another shop does.
    pub(crate) async fn capture(&self, key: &str, content: &Value) {
        let request = self.http.post(format!("{}/captures", self.url)).header("Idempotency-Key", key).json(content);
        assert_eq!(request.send().await.unwrap().status(), 201);
    }

    /// The number of ledger entries of a kind.
    pub(crate) async fn count(&self, kind: &str) -> u64 {
        self.get("/ledger").await.unwrap()["counts"][kind].as_u64().unwrap()
    }

    /// All entries of the ledger.
    pub(crate) async fn entries(&self) -> Vec<Value> {
        self.get("/ledger").await.unwrap()["entries"].as_array().unwrap().clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.running.abort();
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// The environment of the service.
pub(crate) struct Fixture {
    pub(crate) nats: TestNats,
    pub(crate) client: Client,
    pub(crate) js: jetstream::Context,
    pub(crate) database: TestDatabase,
    pub(crate) provider: Provider,
}

/// A running service.
pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Aborts the service at any point of its work.
    pub(crate) async fn abort(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

impl Fixture {
    pub(crate) async fn new(engine: Engine) -> Self {
        let (nats, database) = (TestNats::start().await.unwrap(), TestDatabase::new(engine).await);
        let client = async_nats::connect(nats.url()).await.unwrap();
        let js = jetstream::new(client.clone());
        topology().unwrap().provision(&js, 1).await.unwrap();
        Self { nats, client, js, database, provider: Provider::start().await }
    }

    pub(crate) fn config(&self, options: &[&str]) -> Config {
        let (nats, address) = (self.nats.url(), format!("127.0.0.1:{}", free_port()));
        let mut arguments = vec!["payment-service", "--nats-url", &nats];
        if !options.contains(&"--http-address") {
            arguments.extend(["--http-address", &address]);
        }
        arguments.extend(["--database-url", &self.database.url, "--provider-url", &self.provider.url]);
        arguments.extend(options);
        Config::parse_from(arguments)
    }

    /// Starts an instance of the service.
    pub(crate) fn start(&self, options: &[&str]) -> Running {
        let config = self.config(options);
        let provider = HttpProvider::new(&config.provider_url, config.provider_timeout()).unwrap();
        self.start_with(options, Arc::new(provider))
    }

    pub(crate) fn start_with<P: PaymentProvider>(&self, options: &[&str], provider: Arc<P>) -> Running {
        let shutdown = CancellationToken::new();
        let service = payment_service::run_with(self.config(options), provider, shutdown.clone());
        Running { shutdown, task: tokio::spawn(service) }
    }

    /// Publishes a message as its producer does, and returns its id.
    pub(crate) async fn publish(&self, message: &PaymentMessage) -> Uuid {
        publish(&self.js, message).await
    }

    /// Makes the payment of an order due.
    pub(crate) async fn due(&self, order: &str, amount: i64) {
        self.publish(&placed(order, "ANN", amount)).await;
        self.publish(&reserved(order)).await;
    }

    /// Makes payments due and waits for a failed attempt at each, while the provider fails.
    pub(crate) async fn fail_attempts(&self, orders: &[&str]) {
        for order in orders {
            self.due(order, 60).await;
            eventually("the provider was called", || async {
                self.payment(order).await.is_some_and(|row| row.provider_answer.is_some())
            })
            .await;
        }
    }

    /// The reconciliation totals.
    pub(crate) async fn reconciliation(&self) -> PaymentReconciliation {
        let reply = self.client.request("payment.query.reconciliation", "".into()).await.unwrap();
        serde_json::from_slice(&reply.payload).unwrap()
    }

    pub(crate) async fn sql(&self, statement: &str) {
        self.database.db.execute_unprepared(statement).await.unwrap();
    }

    pub(crate) async fn payment(&self, order: &str) -> Option<Model> {
        Entity::find_by_id(order).one(&self.database.db).await.unwrap()
    }

    pub(crate) async fn reaches(&self, order: &str, expected: Status) {
        let what = format!("{order} is {expected:?}");
        eventually(&what, || async { self.payment(order).await.is_some_and(|row| row.status == expected) }).await;
    }

    pub(crate) async fn events(&self) -> Stream {
        self.js.get_stream(EVENTS).await.unwrap()
    }

    /// Waits for a message on a subject, and returns the last one.
    pub(crate) async fn received(&self, subject: &str) -> StreamMessage {
        let events = self.events().await;
        eventually(subject, || async { events.get_last_raw_message_by_subject(subject).await.is_ok() }).await;
        events.get_last_raw_message_by_subject(subject).await.unwrap()
    }

    /// The number of messages on subjects.
    pub(crate) async fn published(&self, filter: &str) -> usize {
        let events = self.events().await;
        let info = events.info_with_subjects(filter).await.unwrap();
        use futures::TryStreamExt;
        let counts: Vec<(String, usize)> = info.try_collect().await.unwrap();
        counts.into_iter().map(|(_, count)| count).sum()
    }

    /// Checks that the outbox and the dead letters are empty.
    pub(crate) async fn is_drained(&self) {
        assert_eq!(choreography::outbox_pending::depth(&self.database.db).await.unwrap(), 0);
        assert_eq!(self.js.get_stream("DEAD_LETTERS").await.unwrap().cached_info().state.messages, 0);
    }
}

pub(crate) async fn publish(js: &jetstream::Context, message: &PaymentMessage) -> Uuid {
    let id = Uuid::now_v7();
    let command = Command::new(id, message).unwrap();
    Publisher::new(js.clone(), message.info().producer).publish(command).await.unwrap();
    id
}

pub(crate) fn header(message: &StreamMessage, name: &str) -> String {
    message.headers.get(name).unwrap().as_str().to_owned()
}

pub(crate) fn body(message: &StreamMessage) -> Value {
    serde_json::from_slice(&message.payload).unwrap()
}
