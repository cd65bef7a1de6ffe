//! A service with one table, on a real nats-server and a real database.

pub(crate) use choreography_test::Engine;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream::Stream};
use bytes::Bytes;
use choreography::connection::{self, NatsOptions};
use choreography::credentials::NatsCredentials;
use choreography::database::Databases;
use choreography::durability::DurabilityOptions;
use choreography::listener::HttpOptions;
use choreography::query::{Endpoint, QueryError};
use choreography::storage::StorageOptions;
use choreography::{Handler, Health, Service, ServiceBuilder, ServiceOptions, Topology, database};
use choreography_test::{TestNats, TestPostgres, free_port};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::counter::{Add, Counter, Migrator, Mode, total_of};

pub(crate) const TOPOLOGY: &str = r#"{
  "streams": [
    {"name": "COMMANDS", "description": "", "subjects": ["counter.command.>"], "maxAgeSeconds": 3600,
     "duplicateWindowSeconds": 120, "maxMessageSize": 65536, "atomicBatches": true},
    {"name": "EVENTS", "description": "", "subjects": ["counter.event.>"], "maxAgeSeconds": 3600,
     "duplicateWindowSeconds": 120, "maxMessageSize": 65536, "atomicBatches": true},
    {"name": "TIMERS", "description": "", "subjects": ["counter.schedule.>", "counter.timer.>"], "maxAgeSeconds": 3600,
     "duplicateWindowSeconds": 120, "maxMessageSize": 65536, "schedules": true},
    {"name": "DEAD_LETTERS", "description": "", "subjects": ["dead-letter.>"], "maxAgeSeconds": 3600,
     "duplicateWindowSeconds": 120, "maxMessageSize": 131072}
  ],
  "buckets": [{"name": "KEYS", "description": "", "maxAgeSeconds": 60, "maxValueSize": 100}],
  "consumers": [{"stream": "COMMANDS", "name": "counter-service", "filterSubjects": ["counter.command.>"]}]
}"#;

/// A nats-server and a database for one test, with helpers.
pub(crate) struct Bench {
    pub(crate) nats: TestNats,
    pub(crate) url: String,
    pub(crate) db: DatabaseConnection,
    pub(crate) js: jetstream::Context,
    file: Option<PathBuf>,
}

impl Bench {
    /// Marks all outbox rows as pending, as if the service had been killed before it recorded its publishes.
    pub(crate) async fn mark_all_pending(&self) {
        let insert = "INSERT INTO outbox_pending (first_row_id, last_row_id) SELECT row_id, row_id FROM outbox";
        self.db.execute_unprepared(insert).await.unwrap();
    }

    pub(crate) async fn new(engine: Engine) -> Self {
        Self::with(engine, TestNats::start().await.unwrap()).await
    }

    /// Uses the caller's nats-server.
    pub(crate) async fn with(engine: Engine, nats: TestNats) -> Self {
        let url = match engine {
            Engine::Postgres => TestPostgres::shared().await.unwrap().create_database().await.unwrap(),
            Engine::Sqlite => String::new(),
        };
        Self::on_with(url, nats).await
    }

    /// Uses the caller's database, or a new SQLite file if the URL is empty.
    pub(crate) async fn on(url: String) -> Self {
        Self::on_with(url, TestNats::start().await.unwrap()).await
    }

    async fn on_with(mut url: String, nats: TestNats) -> Self {
        let mut file = None;
        if url.is_empty() {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("messaging-test-{}-{count}.sqlite", std::process::id()));
            url = format!("sqlite://{}?mode=rwc", path.display());
            file = Some(path);
        }
        let db = database::open::<Migrator>(&url).await.unwrap();
        let client = async_nats::connect(nats.url()).await.unwrap();
        let js = jetstream::new(client);
        Topology::parse(TOPOLOGY).unwrap().provision(&js, 1).await.unwrap();
        Self { nats, url, db, js, file }
    }

    pub(crate) fn options(&self) -> ServiceOptions {
        ServiceOptions {
            durability: DurabilityOptions::default(),
            http: HttpOptions::default(),
            storage: StorageOptions::default(),
            nats: nats_options(self.nats.url()),
            database_url: Some(self.url.clone()),
            retention_seconds: 7200,
            cleanup_seconds: 1,
            max_attempts: 3,
        }
    }

    /// Starts an instance of the service and waits until it is ready.
    pub(crate) async fn start(&self) -> Running {
        let running = self.launch(&self.options()).await;
        eventually("the service is ready", || async { running.readiness().await.0 }).await;
        running
    }

    pub(crate) async fn launch(&self, options: &ServiceOptions) -> Running {
        run(self.service(self.counter()).await, options)
    }

    /// Makes a handler.
    pub(crate) fn counter(&self) -> Counter {
        Counter { elsewhere: Some(self.db.clone()), ..Counter::default() }
    }

    /// Makes an instance without starting it.
    pub(crate) async fn service<H: Handler>(&self, handler: H) -> Service<H> {
        let db = Databases::open::<Migrator>(&self.url).await.unwrap();
        self.builder(handler).database(db).build().unwrap()
    }

    /// Makes an instance without a database.
    pub(crate) fn builder<H: Handler>(&self, handler: H) -> ServiceBuilder<H> {
        let http_address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        let total = self.db.clone();
        let total = Endpoint::new("total", "counter.query.total.*", move |query| {
            let db = total.clone();
            async move {
                match total_of(&db, &query.key).await {
                    0 => Err(QueryError::NotFound(format!("nothing was added to {}", query.key))),
                    total => Ok(total),
                }
            }
        });
        Service::builder("counter-service")
            .description("counts")
            .version("1.2.3")
            .topology(Topology::parse(TOPOLOGY).unwrap())
            .handler(handler)
            .queries([total])
            .http(http_address)
    }

    /// Publishes a well-formed command; without `Nats-Msg-Id`, so that the stream stores it every time.
    pub(crate) async fn send(&self, id: Uuid, key: &str, mode: Mode) {
        let body = serde_json::to_vec(&Add { mode }).unwrap();
        self.send_raw(&format!("counter.command.add.{key}"), headers(id, key), body).await;
    }

    pub(crate) async fn send_raw(&self, subject: &str, headers: HeaderMap, body: impl Into<Bytes>) {
        self.js.publish_with_headers(subject.to_owned(), headers, body.into()).await.unwrap().await.unwrap();
    }

    pub(crate) async fn total(&self, key: &str) -> i64 {
        total_of(&self.db, key).await
    }

    pub(crate) async fn stream(&self, name: &str) -> Stream {
        self.js.get_stream(name).await.unwrap()
    }

    pub(crate) async fn messages(&self, stream: &str) -> u64 {
        self.stream(stream).await.cached_info().state.messages
    }

    /// Returns the number of deliveries, redeliveries included.
    pub(crate) async fn deliveries(&self) -> u64 {
        self.stream("COMMANDS").await.consumer_info("counter-service").await.unwrap().delivered.consumer_sequence
    }

    /// Waits for the only dead letter, and returns it.
    pub(crate) async fn dead_letter(&self) -> async_nats::jetstream::message::StreamMessage {
        eventually("there is a dead letter", || async { self.messages("DEAD_LETTERS").await > 0 }).await;
        let stream = self.stream("DEAD_LETTERS").await;
        assert_eq!(stream.cached_info().state.messages, 1);
        stream.get_raw_message(stream.cached_info().state.last_sequence).await.unwrap()
    }

    /// Waits until all messages are settled and no outbox row is pending.
    pub(crate) async fn settled(&self) {
        eventually("everything is settled and published", || async {
            let consumer = self.stream("COMMANDS").await.consumer_info("counter-service").await.unwrap();
            consumer.num_pending == 0
                && consumer.num_ack_pending == 0
                && choreography::outbox_pending::depth(&self.db).await.unwrap() == 0
        })
        .await;
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            if let Some(file) = &self.file {
                let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
            }
        }
    }
}

/// Starts an instance.
pub(crate) fn run<H: Handler + Clone>(service: Service<H>, options: &ServiceOptions) -> Running<H> {
    let (http_address, handler) = (service.http_address().unwrap(), service.handler().clone());
    let shutdown = CancellationToken::new();
    let (options, token) = (options.clone(), shutdown.clone());
    let task = tokio::spawn(async move { service.run(&options, token).await });
    Running { task, shutdown, http_address, handler }
}

/// A running instance of the service.
pub(crate) struct Running<H = Counter> {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
    pub(crate) http_address: SocketAddr,
    pub(crate) handler: H,
}

impl<H> Running<H> {
    /// Returns whether it is ready, and the response of `/readiness`.
    pub(crate) async fn readiness(&self) -> (bool, String) {
        self.get("/readiness").await
    }

    /// Returns the response of `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        self.get("/metrics").await.1
    }

    /// Returns whether the response is 200, and the whole response.
    async fn get(&self, path: &str) -> (bool, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let Ok(mut stream) = tokio::net::TcpStream::connect(self.http_address).await else {
            return (false, "no response".to_owned());
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        (response.starts_with("HTTP/1.1 200"), response)
    }

    /// Stops it, and returns its result and the time it took.
    pub(crate) async fn stop(self) -> (anyhow::Result<()>, Duration) {
        let start = Instant::now();
        self.shutdown.cancel();
        let ended = self.task.await.unwrap();
        (ended, start.elapsed())
    }

    /// Waits until it ends by itself, at most 30 s.
    pub(crate) async fn ended(self) -> anyhow::Result<()> {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.task).await;
        ended.expect("the service still runs").unwrap()
    }

    /// Aborts it at its present await, as in a crash.
    pub(crate) async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(crate) fn headers(id: Uuid, key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id.to_string().as_str());
    headers.insert("ce-type", "counter.add.v1");
    headers.insert("ce-source", "/tester");
    headers.insert("ce-subject", key);
    headers.insert("ce-time", "2026-01-02T03:04:05Z");
    headers
}

/// Waits until a condition holds, at most 30 s.
pub(crate) async fn eventually<F, Fut>(description: &str, condition: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(30), "not within 30 s: {description}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the options of a client without credentials.
pub(crate) fn nats_options(nats_url: String) -> NatsOptions {
    let nats_credentials = NatsCredentials::default();
    NatsOptions { nats_url, nats_user: None, nats_password: None, nats_credentials }
}

/// Connects as the library does, and returns the client with its health.
pub(crate) async fn connected(url: &str) -> (async_nats::Client, Health) {
    let health = Health::default();
    let options = nats_options(url.to_owned());
    (connection::connect(&options, "tester", &health).await.unwrap(), health)
}
