//! The guarantees of the simulated payment provider.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod descriptors;
mod output;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use choreography::listener::HttpOptions;
use choreography_test::free_port;
use payment_provider::behaviour::{Act, Behaviour, Mode, Operation, Rates};
use payment_provider::{Config, run};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A provider with its ledger in a folder that is removed after the test.
struct Provider {
    config: Config,
    http: reqwest::Client,
    running: JoinHandle<anyhow::Result<()>>,
    directory: PathBuf,
}

impl Provider {
    async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("provider-{}-{count}", std::process::id()));
        let http_address = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        let config = Config { http_address, http: HttpOptions::default(), ledger: directory.join("ledger.jsonl") };
        let running = tokio::spawn(run(config.clone(), CancellationToken::new()));
        let provider = Self {
            config,
            http: choreography::http::client(std::time::Duration::from_secs(300)).unwrap(),
            running,
            directory,
        };
        provider.wait_until_ready().await;
        provider
    }

    async fn wait_until_ready(&self) {
        let start = Instant::now();
        while self.http.get(self.url("/readiness")).send().await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "it does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Aborts the provider, and starts it again on the same ledger.
    async fn restart(&mut self) {
        self.running.abort();
        assert!((&mut self.running).await.unwrap_err().is_cancelled());
        self.config.http_address = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        self.running = tokio::spawn(run(self.config.clone(), CancellationToken::new()));
        self.wait_until_ready().await;
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.config.http_address)
    }

    async fn behave(&self, behaviour: Value) {
        let response = self.http.put(self.url("/behaviour")).json(&behaviour).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.json::<Value>().await.unwrap(), behaviour);
    }

    async fn capture_with(&self, key: &str, token: &str, amount: u64) -> Result<(u16, Value), reqwest::Error> {
        let body = json!({"orderId": "A", "token": token, "amount": amount, "currency": "EUR"});
        self.send(self.http.post(self.url("/captures")).header("Idempotency-Key", key).json(&body)).await
    }

    async fn capture(&self, key: &str) -> Result<(u16, Value), reqwest::Error> {
        self.capture_with(key, "tok_1", 1000).await
    }

    async fn refund(&self, key: &str, reference: &str) -> Result<(u16, Value), reqwest::Error> {
        let body = json!({ "reference": reference });
        self.send(self.http.post(self.url("/refunds")).header("Idempotency-Key", key).json(&body)).await
    }

    async fn void(&self, key: &str) -> (u16, Value) {
        self.send(self.http.post(self.url(&format!("/captures/{key}/void")))).await.unwrap()
    }

    async fn lookup(&self, key: &str) -> (u16, Value) {
        self.send(self.http.get(self.url(&format!("/captures/{key}")))).await.unwrap()
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, Value), reqwest::Error> {
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// The number of ledger entries per kind: captured, declined, voided, refunded.
    async fn counts(&self) -> [u64; 4] {
        let (_, ledger) = self.send(self.http.get(self.url("/ledger"))).await.unwrap();
        ["captured", "declined", "voided", "refunded"].map(|kind| ledger["counts"][kind].as_u64().unwrap())
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.running.abort();
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

fn captured(reference: &str) -> (u16, Value) {
    (201, reported("captured", reference))
}

/// The body of a response about a capture, with its content.
fn reported(status: &str, reference: &str) -> Value {
    json!({"status": status, "reference": reference, "orderId": "A", "amount": 1000, "currency": "EUR"})
}

fn declined() -> (u16, Value) {
    (402, json!({"status": "declined"}))
}

#[tokio::test]
async fn the_same_key_has_the_same_response_and_captures_once() {
    let provider = Provider::start().await;
    for _ in 0..3 {
        assert_eq!(provider.capture("A").await.unwrap(), captured("cap_00000001"));
    }
    assert_eq!(
        provider.capture("\"A\"").await.unwrap(),
        captured("cap_00000001"),
        "quotes are not part of the key"
    );
    assert_eq!(provider.capture_with("A", "tok_1", 1001).await.unwrap().0, 422);
    assert_eq!(provider.lookup("A").await.1, reported("captured", "cap_00000001"));
    assert_eq!(provider.lookup("B").await.0, 404);
    assert_eq!(provider.counts().await, [1, 0, 0, 0]);
    provider.behave(json!({"mode": "decline"})).await;
    assert_eq!(provider.capture("A").await.unwrap(), captured("cap_00000001"));
    assert_eq!(provider.capture("B").await.unwrap(), declined());
    provider.behave(json!({"mode": "ok"})).await;
    assert_eq!(provider.capture("B").await.unwrap(), declined());
    assert_eq!(provider.counts().await, [1, 1, 0, 0]);
    let keyless = provider.http.post(provider.url("/captures")).json(&json!({})).send().await.unwrap();
    assert_eq!(keyless.status(), 400);
}

#[tokio::test]
async fn a_capture_that_was_voided_in_advance_is_declined() {
    let provider = Provider::start().await;
    assert_eq!(provider.void("A").await, (200, json!({"status": "voided"})));
    assert_eq!(provider.capture("A").await.unwrap(), declined());
    assert_eq!(provider.void("A").await, (200, json!({"status": "voided"})));
    assert_eq!(provider.lookup("A").await.1, json!({"status": "voided"}));
    assert_eq!(provider.counts().await, [0, 0, 1, 0]);
}

#[tokio::test]
async fn a_capture_that_is_voided_afterwards_is_refunded_once() {
    let provider = Provider::start().await;
    provider.capture("A").await.unwrap();
    let refunded = reported("refunded", "cap_00000001");
    for _ in 0..2 {
        assert_eq!(provider.void("A").await, (200, refunded.clone()));
    }
    assert_eq!(provider.capture("A").await.unwrap(), declined());
    assert_eq!(provider.refund("A/refund", "cap_00000001").await.unwrap(), (201, refunded.clone()));
    assert_eq!(provider.lookup("A").await.1, refunded);
    assert_eq!(provider.counts().await, [1, 0, 0, 1]);
}

#[tokio::test]
async fn a_capture_is_refunded_once_under_any_key() {
    let provider = Provider::start().await;
    provider.capture("A").await.unwrap();
    let refunded = (201, reported("refunded", "cap_00000001"));
    for key in ["A/refund", "A/refund", "other"] {
        assert_eq!(provider.refund(key, "cap_00000001").await.unwrap(), refunded);
    }
    assert_eq!(provider.refund("A/refund", "cap_2").await.unwrap().0, 422);
    assert_eq!(provider.refund("new", "cap_2").await.unwrap().0, 404);
    assert_eq!(provider.capture("A").await.unwrap(), captured("cap_00000001"), "it was captured");
    assert_eq!(provider.counts().await, [1, 0, 0, 1]);
}

#[tokio::test]
async fn a_capture_with_a_lost_response_is_in_the_ledger_and_a_lost_request_is_not() {
    let provider = Provider::start().await;
    provider.behave(json!({"mode": "drop-before"})).await;
    assert!(provider.capture("A").await.is_err());
    assert_eq!(provider.counts().await, [0, 0, 0, 0]);
    provider.behave(json!({"mode": "answer-then-drop"})).await;
    assert!(provider.capture("A").await.is_err());
    assert!(provider.capture("A").await.is_err());
    assert_eq!(provider.counts().await, [1, 0, 0, 0]);
    provider.behave(json!({"mode": "fail", "on": ["refund"]})).await;
    assert_eq!(provider.capture("A").await.unwrap(), captured("cap_00000001"));
    assert_eq!(provider.refund("A/refund", "cap_00000001").await.unwrap().0, 500);
    assert_eq!(provider.counts().await, [1, 0, 0, 0]);
}

#[tokio::test]
async fn a_key_of_another_client_is_refused_and_captures_nothing() {
    let provider = Provider::start().await;
    provider.behave(json!({"mode": "key-taken"})).await;
    for key in ["A", "B"] {
        assert_eq!(provider.capture(key).await.unwrap().0, 422);
        assert_eq!(provider.capture(key).await.unwrap().0, 422, "a repetition is refused, too");
    }
    provider.behave(json!({"mode": "ok"})).await;
    assert_eq!(provider.capture("A").await.unwrap().0, 422, "the key stays refused");
    assert_eq!(provider.counts().await, [2, 0, 0, 0]);
}

#[tokio::test]
async fn a_slow_capture_is_in_the_ledger_although_its_client_has_disconnected() {
    let provider = Provider::start().await;
    provider.behave(json!({"mode": "slow", "ms": 300})).await;
    let impatient = tokio::time::timeout(Duration::from_millis(100), provider.capture("A")).await;
    assert!(impatient.is_err());
    assert_eq!(provider.counts().await, [0, 0, 0, 0]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(provider.counts().await, [1, 0, 0, 0]);
}

#[tokio::test]
async fn tokens_misbehave_by_their_prefix() {
    let provider = Provider::start().await;
    assert_eq!(provider.capture_with("A", "tok_decline_1", 1).await.unwrap(), declined());
    assert_eq!(provider.capture_with("B", "tok_fail", 1).await.unwrap().0, 500);
    assert!(provider.capture_with("C", "tok_drop", 1).await.is_err());
    let start = Instant::now();
    assert_eq!(provider.capture_with("D", "tok_slow", 1).await.unwrap().0, 201);
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(provider.counts().await, [2, 1, 0, 0]);
}

#[tokio::test]
async fn the_ledger_survives_a_restart_and_an_incomplete_line() {
    let mut provider = Provider::start().await;
    provider.capture("A").await.unwrap();
    provider.capture("B").await.unwrap();
    provider.refund("B/refund", "cap_00000002").await.unwrap();
    provider.void("C").await;
    let mut text = std::fs::read_to_string(&provider.config.ledger).unwrap();
    text.push_str(r#"{"kind":"captured","key":"D""#);
    std::fs::write(&provider.config.ledger, text).unwrap();
    provider.restart().await;
    assert_eq!(provider.counts().await, [2, 0, 1, 1]);
    assert_eq!(provider.capture("A").await.unwrap(), captured("cap_00000001"));
    assert_eq!(provider.capture("C").await.unwrap(), declined());
    assert_eq!(provider.capture("D").await.unwrap(), captured("cap_00000005"));
    assert_eq!(provider.refund("B/refund", "cap_00000002").await.unwrap().0, 201);
    provider.restart().await;
    assert_eq!(provider.counts().await, [3, 0, 1, 1]);
}

#[test]
fn random_behaviour_keeps_to_its_rates_and_is_the_same_for_the_same_seed() {
    let rates = Rates {
        seed: 7,
        ms: 5,
        slow: 0.1,
        decline: 0.2,
        fail: 0.1,
        answer_then_drop: 0.2,
        drop_before: 0.1,
        key_taken: 0.1,
    };
    let behaviour = Behaviour { mode: Mode::Random(rates), on: vec![] };
    let plans: Vec<_> = (0..10_000).map(|n| behaviour.plan(Operation::Capture, None, n)).collect();
    let again: Vec<_> = (0..10_000).map(|n| behaviour.plan(Operation::Capture, None, n)).collect();
    assert_eq!(plans, again);
    let share = |act| plans.iter().filter(|plan| plan.act == act).count();
    for (act, expected) in [
        (Act::Perform, 3000),
        (Act::Decline, 2000),
        (Act::Fail, 1000),
        (Act::PerformAndDrop, 2000),
        (Act::Drop, 1000),
        (Act::KeyTaken, 1000),
    ] {
        assert!(share(act).abs_diff(expected) < 200, "{act:?}: {}", share(act));
    }
    assert!(plans.iter().filter(|plan| !plan.delay.is_zero()).count().abs_diff(1000) < 200);
}
