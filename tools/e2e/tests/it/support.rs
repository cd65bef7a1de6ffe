//! A whole shop for one test, with its own processes, ports, and data folder.

pub(crate) use choreography_test::Engine;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Client, HeaderMap};
use choreography::Health;
use choreography::connection;
use choreography_test::TestPostgres;
use demo::shop::nats_options;
use demo::{Component, Databases, Shop, ShopConfig};
use futures::TryStreamExt;
use reqwest::{Method, RequestBuilder};
use sea_orm::{Database, DatabaseConnection};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A running shop with its clients.
pub(crate) struct World {
    pub(crate) shop: Shop,
    pub(crate) http: reqwest::Client,
    logs: Arc<Mutex<BTreeMap<Component, String>>>,
    data: PathBuf,
    provisioner: Client,
    /// Dropped last, after its processes have ended.
    _permit: SemaphorePermit<'static>,
}

/// Limits the concurrent shops: each has eight processes, which use more than one core.
static SHOPS: Semaphore = Semaphore::const_new(3);

/// A complete HTTP response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl World {
    /// Starts an empty shop.
    pub(crate) async fn start(engine: Engine) -> Self {
        Self::start_with(Self::on(engine).await).await
    }

    /// Returns the configuration of an empty shop with its own databases.
    pub(crate) async fn on(engine: Engine) -> ShopConfig {
        let mut config = Self::empty();
        if engine == Engine::Postgres {
            let postgres = TestPostgres::shared().await.unwrap();
            let mut urls = BTreeMap::new();
            for component in Component::WITH_DATABASE {
                urls.insert(component, postgres.create_database().await.unwrap());
            }
            config.databases = Databases::Postgres(urls);
        }
        config
    }

    /// Starts an empty shop with additional variables for every service.
    pub(crate) async fn start_set(variables: &[(&str, &str)]) -> Self {
        let mut config = Self::empty();
        config.variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::start_with(config).await
    }

    /// Returns the configuration of an empty shop on SQLite, with its own ports and folder.
    pub(crate) fn empty() -> ShopConfig {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let data = std::env::temp_dir().join(format!("shop-e2e-{}-{count}", std::process::id()));
        let mut config = ShopConfig::on_free_ports(env!("CARGO_BIN_EXE_shop").into(), data);
        // Only tests that set a deadline wait for it.
        config.stock_deadline_seconds = 3600;
        config
    }

    /// Starts a shop, possibly on the data of an earlier one.
    pub(crate) async fn start_with(config: ShopConfig) -> Self {
        let permit = SHOPS.acquire().await.unwrap();
        let data = config.data.clone();
        let logs = Arc::new(Mutex::new(BTreeMap::<Component, String>::new()));
        let kept = logs.clone();
        let on_line = Arc::new(move |component: Component, line: &str| {
            let mut kept = kept.lock().unwrap();
            let log = kept.entry(component).or_default();
            writeln!(log, "{line}").unwrap();
        });
        let shop = match Shop::start(config, on_line, &|_| {}).await {
            Ok(shop) => shop,
            Err(error) => panic!("{error:#}\n{:?}", logs.lock().unwrap()),
        };
        let options = nats_options(shop.config(), "provisioner");
        let provisioner = connection::connect(&options, "provisioner", &Health::default()).await.unwrap();
        Self {
            shop,
            http: choreography::http::client(std::time::Duration::from_secs(300)).unwrap(),
            logs,
            data,
            provisioner,
            _permit: permit,
        }
    }

    pub(crate) fn config(&self) -> ShopConfig {
        self.shop.config().clone()
    }

    /// Stops all services and keeps the data for another start.
    pub(crate) async fn shut_down(mut self) -> ShopConfig {
        let config = self.config();
        for component in Component::SERVICES {
            let ended = self.shop.stop(component).await.unwrap();
            assert!(
                ended.is_some_and(|status| status.success()),
                "{component} ended with {ended:?}\n{}",
                self.log(component)
            );
        }
        self.data = PathBuf::new();
        config
    }

    pub(crate) fn log(&self, component: Component) -> String {
        self.logs.lock().unwrap().get(&component).cloned().unwrap_or_default()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.shop.config().http_url(Component::ApiGateway)))
    }

    /// Runs the operator's program with JSON output.
    pub(crate) async fn choreo(&self, arguments: &[&str]) -> std::process::Output {
        let config = self.shop.config();
        tokio::process::Command::new(&config.program)
            .args(["choreo", "--json", "--nats-url", &nats_options(config, "operator").nats_url])
            .args(arguments)
            .output()
            .await
            .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        send(self.request(Method::POST, path).json(body)).await
    }

    /// Places an order and waits at most ten seconds for its terminal status.
    pub(crate) async fn place_and_wait(&self, order: &Value) -> Response {
        send(self.request(Method::POST, "/orders").header("prefer", "wait=10").json(order)).await
    }

    /// Seeds products, `(id, units)`, and the account of the customer who orders them.
    pub(crate) async fn seed(&self, products: &[(&str, u64)]) {
        self.open_account("CUSTOMER_001", "tok_visa", 1_000_000_000).await;
        let catalogue: Vec<Value> =
            products.iter().map(|(id, available)| json!({"productId": id, "available": available})).collect();
        let url = format!("{}/automation-testing/seed", self.shop.config().http_url(Component::InventoryService));
        let seeded = send(self.http.post(url).json(&catalogue)).await;
        assert_eq!(seeded.status, 200, "{:?}", seeded.body);
    }

    /// Opens an account with a card and a limit in EUR.
    pub(crate) async fn open_account(&self, customer: &str, token: &str, limit: u64) {
        let opened = self.post("/accounts", &account(customer, token, limit)).await;
        assert_eq!(opened.status, 201, "{opened:?}");
    }

    /// Returns `(available, reserved, backordered)` of a product.
    pub(crate) async fn stock(&self, product: &str) -> (u64, u64, u64) {
        let response = self.get(&format!("/products/{product}")).await;
        let count = |name: &str| response.body[name].as_u64().unwrap_or_else(|| panic!("{response:?}"));
        (count("available"), count("reserved"), count("backordered"))
    }

    /// Returns the status of an order; if there is none, the status code of the response.
    pub(crate) async fn status(&self, order: &str) -> String {
        let response = self.get(&format!("/orders/{order}")).await;
        response.body["status"].as_str().map_or_else(|| response.status.to_string(), str::to_owned)
    }

    pub(crate) async fn eventually_status(&self, order: &str, status: &str) {
        eventually(&format!("{order} is {status}"), || async { self.status(order).await == status }).await;
    }

    pub(crate) async fn kill(&mut self, component: Component) {
        self.shop.kill(component).unwrap();
    }

    pub(crate) async fn start_again(&mut self, component: Component) {
        self.shop.start_component(component).await.unwrap();
        self.shop.wait_until_ready(component, &|_| {}).await.unwrap();
    }

    pub(crate) fn jetstream(&self) -> jetstream::Context {
        connection::jetstream(&self.provisioner)
    }

    pub(crate) async fn stream(&self, name: &str) -> Stream {
        self.jetstream().get_stream(name).await.unwrap()
    }

    pub(crate) async fn messages(&self, stream: &str) -> u64 {
        self.stream(stream).await.cached_info().state.messages
    }

    /// Returns the number of messages in a stream, by subject.
    pub(crate) async fn counts(&self, stream: &str, filter: &str) -> BTreeMap<String, usize> {
        let subjects = self.stream(stream).await.info_with_subjects(filter).await.unwrap();
        subjects.try_collect().await.unwrap()
    }

    /// Returns the number of messages in a stream on a subject.
    pub(crate) async fn count(&self, stream: &str, subject: &str) -> usize {
        self.counts(stream, subject).await.values().sum()
    }

    /// Pauses the delivery to a consumer, for at most a minute.
    pub(crate) async fn hold_back(&self, stream: &str, consumer: &str) {
        let until = OffsetDateTime::now_utc() + Duration::from_secs(60);
        self.stream(stream).await.pause_consumer(consumer, until).await.unwrap();
    }

    pub(crate) async fn let_go(&self, stream: &str, consumer: &str) {
        self.stream(stream).await.resume_consumer(consumer).await.unwrap();
    }

    /// Connects as a user of `nats.conf`.
    pub(crate) async fn connect_as(&self, user: &str) -> Client {
        let options = nats_options(self.shop.config(), user);
        let client = connection::connect(&options, user, &Health::default()).await.unwrap();
        client.flush().await.unwrap();
        client
    }

    /// Publishes to a stream as a user.
    pub(crate) async fn publish_as(&self, user: &str, subject: &str, headers: HeaderMap, body: Vec<u8>) {
        let client = self.connect_as(user).await;
        let js = connection::jetstream(&client);
        js.publish_with_headers(subject.to_owned(), headers, body.into()).await.unwrap().await.unwrap();
    }

    /// Waits until no service has work left: consumers are settled, outboxes are empty, no payment attempt is
    /// planned.
    pub(crate) async fn settled(&self) {
        let config = self.config();
        let mut databases = Vec::new();
        for url in Component::SERVICES.into_iter().filter_map(|component| config.database_url(component)) {
            databases.push(Database::connect(url).await.unwrap());
        }
        // Checked twice: between two checks, work may move to a place that was checked before.
        let (mut seen, start) = (Err("not checked yet".to_owned()), Instant::now());
        loop {
            let published = self.at_rest(&databases).await;
            if published.is_ok() && seen == published {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "not settled: {published:?}");
            seen = published;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the number of messages so far, or the first work that is left.
    async fn at_rest(&self, databases: &[DatabaseConnection]) -> Result<u64, String> {
        if !self.payments_rest().await {
            return Err("payments are in progress".to_owned());
        }
        for database in databases {
            let depth = choreography::outbox_pending::depth(database).await.unwrap();
            if depth > 0 {
                return Err(format!("{depth} messages in the outbox of {database:?}"));
            }
        }
        for (stream, consumer) in CONSUMERS {
            let info = self.stream(stream).await.consumer_info(consumer).await.unwrap();
            if info.num_pending > 0 || info.num_ack_pending > 0 {
                let (pending, unacknowledged) = (info.num_pending, info.num_ack_pending);
                return Err(format!(
                    "{consumer} has {pending} of {stream} pending, {unacknowledged} unacknowledged"
                ));
            }
        }
        let mut published = 0;
        for stream in ["COMMANDS", "EVENTS", "TIMERS"] {
            published += self.stream(stream).await.cached_info().state.last_sequence;
        }
        Ok(published)
    }

    /// Checks the end of every test without invalid messages: no work left, no dead letters, all services ready.
    pub(crate) async fn assert_healthy(&self) {
        self.settled().await;
        assert_eq!(self.messages("DEAD_LETTERS").await, 0, "dead letters\n{}", self.log(Component::OrderService));
        eventually("every service is ready", || async {
            self.shop.status().await.iter().all(|status| status.ready)
        })
        .await;
        for component in Component::SERVICES {
            let log = self.log(component);
            assert!(!log.contains("Permissions Violation"), "{component} was refused a permission\n{log}");
        }
    }
}

/// Every durable consumer, as (stream, name).
pub(crate) const CONSUMERS: [(&str, &str); 8] = [
    ("COMMANDS", "order-service"),
    ("EVENTS", "order-service"),
    ("TIMERS", "order-service"),
    ("COMMANDS", "inventory-service"),
    ("EVENTS", "inventory-service"),
    ("COMMANDS", "account-service"),
    ("EVENTS", "payment-service"),
    ("EVENTS", "notification-service"),
];

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (component, log) in
                self.logs.lock().unwrap().iter().filter(|(component, _)| **component != Component::NatsServer)
            {
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("--- {component}\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
            }
        }
        if !self.data.as_os_str().is_empty() {
            for component in Component::ALL {
                let _ = self.shop.kill(component);
            }
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

/// Sends a request and reads the response; a connection error is a response with status 0.
pub(crate) async fn send(request: RequestBuilder) -> Response {
    let Ok(response) = request.timeout(Duration::from_secs(30)).send().await else {
        return Response { status: 0, headers: reqwest::header::HeaderMap::new(), body: Value::Null };
    };
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap_or_default();
    Response { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

/// One of the seed's orders.
pub(crate) fn seed_order(index: usize) -> Value {
    let orders: Vec<Value> = serde_json::from_str(seed::ORDERS).unwrap();
    orders[index].clone()
}

/// An account with a card and a limit in EUR.
pub(crate) fn account(customer: &str, token: &str, limit: u64) -> Value {
    json!({
        "customerId": customer, "name": "Ada Example", "addresses": [],
        "contact": {"email": "ada@example.org"},
        "card": {"token": token, "brand": "Visa", "lastFour": "4242", "expiry": "2099-12"},
        "creditLimit": {"amount": limit, "currency": "EUR"}
    })
}

/// An order of some units of one product, each at 10 EUR.
pub(crate) fn order(id: &str, product: &str, quantity: u64) -> Value {
    order_of("CUSTOMER_001", id, product, quantity)
}

/// An order of a customer.
pub(crate) fn order_of(customer: &str, id: &str, product: &str, quantity: u64) -> Value {
    json!({
        "orderId": id, "customerId": customer, "currency": "EUR",
        "items": [{"productId": product, "quantity": quantity, "unitPrice": 1000}]
    })
}

/// Waits until a condition is true, for at most a minute.
pub(crate) async fn eventually<F, Fut>(what: &str, condition: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(60), "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
