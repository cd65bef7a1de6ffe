//! A test fixture: nats-server and a gateway.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api_gateway::operations::OperationsOptions;
use api_gateway::{Config, DashboardOptions};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions, HeaderMap};
use choreography::connection::NatsOptions;
use choreography::credentials::NatsCredentials;
use choreography::durability::DurabilityOptions;
use choreography::listener::HttpOptions;
use choreography_test::{TestNats, free_port};
use contracts::declaration::topology_for;
use contracts::topology::{COMMANDS, EVENTS};
use futures::StreamExt;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The shop's configuration of nats-server.
pub(crate) const NATS_CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../nats.conf");

/// nats-server with the shop's permissions and streams, and a gateway.
pub(crate) struct Shop {
    pub(crate) nats: TestNats,
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    shutdown: CancellationToken,
    gateway: JoinHandle<anyhow::Result<()>>,
}

/// A response with its complete body.
#[derive(Debug, Clone)]
pub(crate) struct HttpResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl HttpResponse {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.unwrap()).await
    }

    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Checks that this is a problem with that status and code.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.body["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        assert_eq!(self.body["type"], format!("/problems/{code}"), "{self:?}");
        assert!(self.body["title"].is_string() && self.body["detail"].is_string(), "{self:?}");
        assert_eq!(self.headers.contains_key("retry-after"), status == 503, "{self:?}");
    }
}

/// A message of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Value,
}

impl Stored {
    pub(crate) fn id(&self) -> Uuid {
        self.headers["ce-id"].parse().unwrap()
    }
}

impl Shop {
    pub(crate) async fn start() -> Self {
        let shop = Self::around(nats().await);
        shop.until_ready().await;
        shop
    }

    /// Starts a gateway with the operations for operators.
    pub(crate) async fn with_operations() -> Self {
        let operations = OperationsOptions { enabled: true, operator_password: Some(password("operator")) };
        let shop = Self::set(nats().await, |config| config.operations = operations);
        shop.until_ready().await;
        shop
    }

    /// Starts a gateway, without waiting until it is ready.
    pub(crate) fn around(nats: TestNats) -> Self {
        Self::set(nats, |_| {})
    }

    /// Starts a gateway with other options, without waiting until it is ready.
    pub(crate) fn set(nats: TestNats, set: impl FnOnce(&mut Config)) -> Self {
        let http_address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let options = NatsOptions {
            nats_url: nats.url(),
            nats_user: None,
            nats_password: Some(password("api-gateway")),
            nats_credentials: NatsCredentials::default(),
        };
        let mut config = Config {
            http_address,
            nats: options,
            durability: DurabilityOptions::default(),
            http: HttpOptions::default(),
            max_backlog: 1000,
            auth: api_gateway::auth::AuthOptions::default(),
            operations: OperationsOptions::default(),
            dashboard: DashboardOptions::default(),
        };
        set(&mut config);
        let shutdown = CancellationToken::new();
        let gateway = tokio::spawn(api_gateway::run(config, shutdown.clone()));
        let http = choreography::http::client(std::time::Duration::from_secs(300)).unwrap();
        Self { nats, base: format!("http://{http_address}"), http, shutdown, gateway }
    }

    pub(crate) async fn until_ready(&self) {
        until("the gateway is ready", || async {
            let response = self.http.get(format!("{}/readiness", self.base)).send().await;
            response.is_ok_and(|response| response.status() == StatusCode::OK)
        })
        .await;
    }

    /// Waits until the gateway ends by itself, and returns the error.
    pub(crate) async fn ended(&mut self) -> String {
        (&mut self.gateway).await.unwrap().unwrap_err().to_string()
    }

    /// Shuts the gateway down as a signal would, and returns how long that took.
    pub(crate) async fn stop(&mut self) -> Duration {
        let start = Instant::now();
        self.shutdown.cancel();
        (&mut self.gateway).await.unwrap().unwrap();
        start.elapsed()
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", self.base))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request("GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request("POST", path).json(body)
    }

    pub(crate) async fn connect(&self, user: &str) -> Client {
        connect(&self.nats, user).await
    }

    /// Returns all messages of the stream of commands.
    pub(crate) async fn commands(&self) -> Vec<Stored> {
        let mut stream = self.stream(COMMANDS).await;
        let state = stream.info().await.unwrap().state.clone();
        let mut messages = Vec::new();
        for sequence in 1..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let headers = message.headers.iter().map(|(name, values)| (name.to_string(), values[0].to_string()));
            messages.push(Stored {
                subject: message.subject.to_string(),
                headers: headers.collect(),
                body: serde_json::from_slice(&message.payload).unwrap(),
            });
        }
        messages
    }

    /// Returns how many idempotency keys are kept.
    pub(crate) async fn keys(&self) -> u64 {
        self.stream("KV_IDEMPOTENCY").await.info().await.unwrap().state.messages
    }

    pub(crate) async fn stream(&self, name: &str) -> stream::Stream {
        jetstream::new(self.connect("inspector").await).get_stream(name).await.unwrap()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.gateway.abort();
    }
}

/// nats-server with the shop's permissions and streams.
pub(crate) async fn nats() -> TestNats {
    nats_like(Path::new(NATS_CONF)).await
}

/// nats-server with another configuration, and the shop's streams.
pub(crate) async fn nats_like(config: &Path) -> TestNats {
    let nats = bare_nats(config).await;
    provision(&nats).await;
    nats
}

/// Creates the streams of a shop without sign-in.
pub(crate) async fn provision(nats: &TestNats) {
    provision_for(nats, false).await;
}

/// Creates the streams of a shop.
pub(crate) async fn provision_for(nats: &TestNats, auth: bool) {
    let provisioner = jetstream::new(connect(nats, "provisioner").await);
    topology_for(auth).unwrap().provision(&provisioner, 1).await.unwrap();
}

/// nats-server with a configuration and nothing else.
pub(crate) async fn bare_nats(config: &Path) -> TestNats {
    let text = std::fs::read_to_string(config).unwrap();
    let users = text.lines().filter_map(|line| line.trim().strip_prefix("user: ")?.split(',').next());
    let passwords: Vec<(String, String)> =
        users.map(|user| (format!("{}_PASSWORD", user.to_uppercase().replace('-', "_")), password(user))).collect();
    let variables = passwords.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    TestNats::with_config(config, variables).await.unwrap()
}

pub(crate) fn password(user: &str) -> String {
    format!("password-of-{user}")
}

async fn connect(nats: &TestNats, user: &str) -> Client {
    let options = ConnectOptions::new()
        .user_and_password(user.to_owned(), password(user))
        .custom_inbox_prefix(format!("_INBOX_{user}"));
    options.connect(nats.url()).await.unwrap()
}

/// Waits until a condition is met, at most twenty seconds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited twenty seconds until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn an_order(id: &str) -> Value {
    json!({
        "orderId": id, "customerId": "CUSTOMER_001", "currency": "EUR",
        "items": [
            {"productId": "PRODUCT_001", "quantity": 3, "unitPrice": 1000},
            {"productId": "PRODUCT_002", "quantity": 2, "unitPrice": 500}
        ],
        "totalPrice": 4000
    })
}

/// The body that creates an account.
pub(crate) fn an_account(id: &str) -> Value {
    json!({
        "customerId": id, "name": "Zoë O’Neill",
        "addresses": [
            {
                "type": "billing", "street": "Unter den Linden 77", "postalCode": "10117", "city": "Berlin",
                "country": "DE"
            },
            {"type": "shipping", "street": "Kaistr. 2", "postalCode": "40221", "city": "Düsseldorf", "country": "DE"}
        ],
        "contact": {"email": "zoe@example.org", "phone": "+49 30 123456"},
        "card": {"token": "tok_1N3T00LkdIwHu7ix", "brand": "Visa", "lastFour": "1111", "expiry": "2030-12"},
        "creditLimit": {"amount": 100_000, "currency": "EUR"}
    })
}

/// The content of an account, as in commands and events.
pub(crate) fn details(account: &Value) -> Value {
    let mut details = account.clone();
    details.as_object_mut().unwrap().retain(|name, _| name != "customerId" && name != "version");
    details
}

/// The account service's reply about an account.
pub(crate) fn an_account_view(account: &Value, version: i64) -> Value {
    let mut view = account.clone();
    view["version"] = json!(version);
    view
}

/// The order service's reply about an order.
pub(crate) fn a_view(order: &Value, status: &str) -> Value {
    let mut view = order.clone();
    let (placed_at, updated_at) = ("2026-11-21T10:00:00Z", "2026-11-21T10:00:01Z");
    let more =
        json!({"status": status, "reason": null, "version": 2, "placedAt": placed_at, "updatedAt": updated_at});
    view.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    view
}

/// A service with preset query replies that publishes events.
#[derive(Clone)]
pub(crate) struct FakeService {
    name: &'static str,
    client: Client,
    replies: Arc<Mutex<HashMap<String, Result<Value, u16>>>>,
    queries: Arc<Mutex<Vec<(String, Value)>>>,
}

impl FakeService {
    /// Begins to reply to `<context>.query.>`; a query without a preset reply gets 404.
    pub(crate) async fn start(shop: &Shop, name: &'static str, context: &str) -> Self {
        let service =
            Self { name, client: shop.connect(name).await, replies: Arc::default(), queries: Arc::default() };
        let mut requests = service.client.subscribe(format!("{context}.query.>")).await.unwrap();
        // A reply to a later request proves that the server has the subscription.
        let stream = if name == "account-service" { COMMANDS } else { EVENTS };
        let info = service.client.request(format!("$JS.API.STREAM.INFO.{stream}"), "".into()).await.unwrap();
        assert!(!info.payload.is_empty());
        let responder = service.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                responder.reply(request).await;
            }
        });
        service
    }

    pub(crate) async fn orders(shop: &Shop) -> Self {
        Self::start(shop, "order-service", "order").await
    }

    async fn reply(&self, request: async_nats::Message) {
        let body = serde_json::from_slice(&request.payload).unwrap_or_default();
        self.queries.lock().unwrap().push((request.subject.to_string(), body));
        let response = self.replies.lock().unwrap().get(request.subject.as_str()).cloned().unwrap_or(Err(404));
        let Some(reply) = request.reply else { return };
        let sent = match response {
            Ok(json) => self.client.publish(reply, json.to_string().into()).await,
            // The code 0 represents a service that hangs.
            Err(0) => Ok(()),
            Err(code) => {
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Service-Error-Code", code.to_string());
                headers.insert("Nats-Service-Error", "an error of the service");
                self.client.publish_with_headers(reply, headers, "".into()).await
            }
        };
        sent.unwrap();
    }

    pub(crate) fn will_reply(&self, subject: &str, reply: Result<Value, u16>) {
        self.replies.lock().unwrap().insert(subject.to_owned(), reply);
    }

    /// Returns the subjects and bodies of the queries so far.
    pub(crate) fn queries(&self) -> Vec<(String, Value)> {
        self.queries.lock().unwrap().clone()
    }

    /// Publishes an event and returns its sequence in the stream.
    pub(crate) async fn publish(&self, subject: &str, cause: Uuid, body: &Value) -> u64 {
        let tokens: Vec<&str> = subject.split('.').collect();
        let id = Uuid::now_v7().to_string();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-type", &format!("{}.{}.v1", tokens[0], tokens[2])),
            ("ce-source", &format!("/{}", self.name)),
            ("ce-subject", tokens[3]),
            ("ce-id", &id),
            ("ce-time", "2026-11-21T10:00:00Z"),
            ("ce-correlationid", &cause.to_string()),
            ("ce-causationid", &cause.to_string()),
            ("ce-aggregateversion", "1"),
            ("Nats-Msg-Id", &id),
        ] {
            headers.insert(name, value);
        }
        let js = jetstream::new(self.client.clone());
        let published = js.publish_with_headers(subject.to_owned(), headers, body.to_string().into()).await;
        published.unwrap().await.unwrap().sequence
    }
}
