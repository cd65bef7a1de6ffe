//! A client of the gateway that records its requests and the responses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::history::{Exchange, History};

/// The time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The pause of a customer before a retry.
const PAUSE: Duration = Duration::from_millis(700);

/// A request of a customer.
#[derive(Debug, Clone)]
pub struct Request {
    /// The HTTP method.
    pub method: Method,
    /// The path, with its query.
    pub path: String,
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `Prefer: wait=`, in seconds.
    pub wait: Option<u64>,
    /// The body.
    pub body: Option<Value>,
}

impl Request {
    fn new(method: Method, path: &str, body: Option<Value>) -> Self {
        Self { method, path: path.to_owned(), key: None, if_match: None, wait: None, body }
    }

    /// Makes a `GET`.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path, None)
    }

    /// Makes a `POST`.
    #[must_use]
    pub fn post(path: &str, body: Value) -> Self {
        Self::new(Method::POST, path, Some(body))
    }

    /// Makes a `PUT`.
    #[must_use]
    pub fn put(path: &str, body: Value) -> Self {
        Self::new(Method::PUT, path, Some(body))
    }

    /// Makes a `DELETE`.
    #[must_use]
    pub fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path, None)
    }

    /// Adds an idempotency key.
    #[must_use]
    pub fn keyed(self, key: Option<String>) -> Self {
        Self { key, ..self }
    }

    /// Adds a condition on the version.
    #[must_use]
    pub fn if_match(self, version: &str) -> Self {
        Self { if_match: Some(version.to_owned()), ..self }
    }

    /// Adds the preference that the gateway wait for the outcome.
    #[must_use]
    pub fn wait(self, wait: Option<u64>) -> Self {
        Self { wait, ..self }
    }
}

/// A client of the gateway.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    history: Arc<History>,
}

impl Client {
    /// Creates a client of the gateway at `base`.
    ///
    /// # Errors
    ///
    /// If the HTTP client cannot be created.
    pub fn new(base: String, history: Arc<History>) -> anyhow::Result<Self> {
        Ok(Self { http: choreography::http::client(TIMEOUT)?, base, history })
    }

    /// Sends a request once and records the exchange.
    pub async fn send(&self, request: &Request) -> Exchange {
        let exchange = self.exchange(request).await;
        self.history.add(exchange.clone());
        exchange
    }

    /// Repeats a request until its response is final, or the timeout is over.
    pub async fn send_until_final(&self, request: &Request, timeout: Duration) -> Exchange {
        let start = Instant::now();
        loop {
            let exchange = self.send(request).await;
            if exchange.is_definite() || start.elapsed() >= timeout {
                return exchange;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Queries without recording: requests of the campaign itself.
    pub async fn query(&self, path: &str) -> Exchange {
        self.exchange(&Request::get(path)).await
    }

    async fn exchange(&self, request: &Request) -> Exchange {
        let prefer = request.wait.map(|seconds| format!("wait={seconds}"));
        let mut sent = self.http.request(request.method.clone(), format!("{}{}", self.base, request.path));
        for (name, value) in [
            ("idempotency-key", request.key.as_ref().map(|key| format!("\"{key}\""))),
            ("if-match", request.if_match.clone()),
            ("prefer", prefer.clone()),
        ] {
            if let Some(value) = value {
                sent = sent.header(name, value);
            }
        }
        if let Some(body) = &request.body {
            sent = sent.json(body);
        }
        let at = self.history.now();
        let mut retry_after = None;
        let (status, answer) = match sent.send().await {
            // A response with an incomplete body counts as none.
            Ok(answer) => {
                let status = answer.status().as_u16();
                let seconds = answer.headers().get(reqwest::header::RETRY_AFTER);
                retry_after = seconds.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
                answer.text().await.map_or((0, String::new()), |text| (status, text))
            }
            Err(_) => (0, String::new()),
        };
        Exchange {
            sent: at,
            answered: self.history.now(),
            method: request.method.to_string(),
            path: request.path.clone(),
            key: request.key.clone(),
            if_match: request.if_match.clone(),
            prefer,
            body: request.body.clone().unwrap_or_default(),
            status,
            retry_after,
            answer: serde_json::from_str(&answer).unwrap_or_default(),
        }
    }
}
