//! A running demo for one test, with its own ports and data folder.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use demo::up::{self, UpOptions};
use demo::{Component, ShopConfig};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running demo. On drop, its processes end with its runtime.
pub(crate) struct Demo {
    pub(crate) config: ShopConfig,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
    shutdown: CancellationToken,
    runs: JoinHandle<anyhow::Result<()>>,
}

/// Returns the configuration of a shop with free ports and a new folder.
pub(crate) fn config() -> ShopConfig {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // A name that breaks if any code forgets to quote it.
    let data = std::env::temp_dir().join(format!("demo it 100%20:?#ä {}-{count}", std::process::id()));
    let mut config = ShopConfig::on_free_ports(env!("CARGO_BIN_EXE_demo").into(), data);
    config.stock_deadline_seconds = 3600;
    config
}

impl Demo {
    /// Starts a demo as `cargo run` does, with its seed, and waits until it accepts control requests.
    pub(crate) async fn start() -> Self {
        Self::of(config()).await
    }

    /// Starts a demo with a configuration.
    pub(crate) async fn of(config: ShopConfig) -> Self {
        let shutdown = CancellationToken::new();
        let (data, auth) = (config.data.clone(), config.auth);
        let options = UpOptions { data, fresh: false, no_seed: false, auth, no_open: true };
        let (shop, until) = (config.clone(), shutdown.clone());
        let runs = tokio::spawn(async move { up::run(shop, &options, until).await });
        let mut demo = Self {
            config,
            http: choreography::http::client(std::time::Duration::from_secs(300)).unwrap(),
            token: String::new(),
            shutdown,
            runs,
        };
        let address = demo.config.data.join("demo.json");
        eventually("the demo accepts control requests or ends", || async {
            address.exists() || demo.runs.is_finished()
        })
        .await;
        if demo.runs.is_finished() {
            panic!("the demo ended: {:?}", demo.runs.await);
        }
        let address: Value = serde_json::from_slice(&std::fs::read(address).unwrap()).unwrap();
        assert_eq!(address["port"], demo.config.control_port);
        demo.token = address["token"].as_str().unwrap().to_owned();
        demo
    }

    pub(crate) async fn shut_down(self) {
        self.shutdown.cancel();
        self.runs.await.unwrap().unwrap();
        std::fs::remove_dir_all(&self.config.data).unwrap();
    }

    /// Returns an authorised request to the control API.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://127.0.0.1:{}{path}", self.config.control_port);
        self.http.request(method, url).bearer_auth(&self.token)
    }

    /// Sends a control request that succeeds; returns its result.
    pub(crate) async fn control_request(&self, path: &str, body: &Value) -> String {
        let response = self.request(Method::POST, path).json(body).send().await.unwrap();
        let (status, body): (_, Value) = (response.status(), response.json().await.unwrap());
        assert_eq!(status, 200, "{path}: {body}");
        body["done"].as_str().unwrap().to_owned()
    }

    /// Sends a control request that is rejected with this status; returns the error.
    pub(crate) async fn rejected_control_request(&self, status: u16, path: &str, body: &Value) -> String {
        let response = self.request(Method::POST, path).json(body).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        response.json::<Value>().await.unwrap()["error"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn act(&self, component: Component, action: &str) -> String {
        self.control_request(&format!("/components/{component}/{action}"), &json!({})).await
    }

    pub(crate) async fn component(&self, component: Component) -> Value {
        let all: Vec<Value> = self.request(Method::GET, "/components").send().await.unwrap().json().await.unwrap();
        assert_eq!(all.len(), self.config.components().len());
        all.into_iter().find(|one| one["component"] == component.name()).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.config.http_url(Component::ApiGateway));
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Places an order for one unit.
    pub(crate) async fn place(&self, id: &str) {
        let order = json!({"orderId": id, "customerId": "CUSTOMER_001", "currency": "EUR",
            "items": [{"productId": "PRODUCT_001", "quantity": 1, "unitPrice": 1000}]});
        let url = format!("{}/orders", self.config.http_url(Component::ApiGateway));
        assert_eq!(self.http.post(url).json(&order).send().await.unwrap().status(), 202);
    }

    pub(crate) async fn eventually_status(&self, id: &str, status: &str) {
        eventually(&format!("{id} is {status}"), || async {
            self.get(&format!("/orders/{id}")).await["status"] == status
        })
        .await;
    }

    /// Returns the number of duplicates of an order's messages that a service dropped.
    pub(crate) async fn duplicates(&self, id: &str, service: Component) -> u64 {
        let timeline = self.get(&format!("/orders/{id}/timeline")).await;
        let steps = timeline["steps"].as_array().unwrap_or_else(|| panic!("{timeline}"));
        let consumers = steps.iter().flat_map(|step| step["consumers"].as_array().unwrap());
        consumers
            .filter(|consumer| consumer["service"] == service.name())
            .map(|consumer| consumer["duplicates"].as_u64().unwrap())
            .sum()
    }
}

/// Waits until a condition holds, at most 40 s.
pub(crate) async fn eventually<F: Future<Output = bool>>(description: &str, mut condition: impl FnMut() -> F) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(40), "not within 40 s: {description}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the state letter of a process, such as `T` for a stopped one; `None` without a process.
pub(crate) fn process_state(process: &Value) -> Option<char> {
    let stat: PathBuf = format!("/proc/{process}/stat").into();
    let stat = std::fs::read_to_string(stat).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}
