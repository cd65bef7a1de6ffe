//! The load: the actions of customers ([`plan`]) and their requests ([`client`]).
//!
//! The load is open: customers arrive as planned, whether or not the previous ones have been served. The number of
//! concurrent customers is bounded; a customer above the bound is turned away and counted.

pub mod client;
pub mod plan;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use client::{Client, Request};
use plan::{Action, Plan, Planned, Restock};

/// The maximum number of concurrent customers.
const MAX_CONCURRENT: usize = 400;

/// The customers and their requests.
pub struct Load {
    client: Arc<Client>,
    tasks: TaskTracker,
    turned_away: Arc<AtomicU64>,
}

impl Load {
    /// Prepares customers that use a client.
    #[must_use]
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, tasks: TaskTracker::new(), turned_away: Arc::default() }
    }

    /// Opens every account and restocks every product through the API.
    pub async fn prepare(&self, plan: &mut Plan) {
        for action in plan.beginning() {
            perform(&self.client, action, Duration::from_secs(60)).await;
        }
    }

    /// Runs the plan until `stop` is cancelled.
    pub async fn run(&self, plan: Plan, stop: CancellationToken) {
        let start = Instant::now();
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT));
        for Planned { at, action, timeout } in plan {
            tokio::select! {
                () = tokio::time::sleep_until(start + at) => {}
                () = stop.cancelled() => return,
            }
            let Ok(permit) = permits.clone().try_acquire_owned() else {
                self.turned_away.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let client = self.client.clone();
            self.tasks.spawn(async move {
                perform(&client, action, timeout).await;
                drop(permit);
            });
        }
    }

    /// Waits until all customers are done.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Returns the number of customers turned away.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}

async fn perform(client: &Client, action: Action, timeout: Duration) {
    match action {
        Action::Place(place) => {
            let request = Request::post("/orders", place.body).keyed(place.key).wait(place.wait);
            let first = client.send_until_final(&request, timeout).await;
            for pause in place.again {
                tokio::time::sleep(pause).await;
                client.send_until_final(&request, timeout).await;
            }
            if let Some(body) = place.other_content.filter(|_| first.is_acknowledged()) {
                client.send_until_final(&Request { body: Some(body), ..request }, timeout).await;
            }
        }
        Action::Cancel { order_id, body, key } => {
            client
                .send_until_final(&Request::post(&format!("/orders/{order_id}/cancel"), body).keyed(key), timeout)
                .await;
        }
        Action::Restock(restock) => {
            let request = self::restock(&restock);
            client.send_until_final(&request, timeout).await;
            if restock.again {
                client.send_until_final(&request, timeout).await;
            }
        }
        Action::Open { account, key } => {
            client.send_until_final(&Request::post("/accounts", account).keyed(key), timeout).await;
        }
        Action::Change { customer_id, account, key } => {
            let path = format!("/accounts/{customer_id}");
            if let Some(version) = version_of(client, &path).await {
                client.send_until_final(&Request::put(&path, account).keyed(key).if_match(&version), timeout).await;
            }
        }
        Action::Close { customer_id, account, key } => {
            let path = format!("/accounts/{customer_id}");
            if let Some(version) = version_of(client, &path).await {
                client.send_until_final(&Request::delete(&path).keyed(key).if_match(&version), timeout).await;
                tokio::time::sleep(Duration::from_secs(2)).await;
                client.send_until_final(&Request::post("/accounts", account), timeout).await;
            }
        }
    }
}

/// Returns the request for a restock.
fn restock(restock: &Restock) -> Request {
    let path = format!("/products/{}/restock", restock.product_id);
    Request::post(&path, json!({"quantity": restock.quantity})).keyed(restock.key.clone())
}

/// Queries the version of an account; `None` if it is unavailable.
async fn version_of(client: &Client, path: &str) -> Option<String> {
    let answer = client.send(&Request::get(path)).await;
    answer.answer["version"].as_i64().map(|version| format!("\"{version}\""))
}

/// Restocks a product, with retries.
pub async fn add_stock(client: &Client, product_id: &str, quantity: u64, key: String) -> Value {
    let request = Restock { product_id: product_id.to_owned(), quantity, key: Some(key), again: false };
    client.send_until_final(&restock(&request), Duration::from_secs(60)).await.answer
}
