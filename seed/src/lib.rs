//! The demo catalogue and orders, and how they get into the store: through its public interfaces only.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, StatusCode};
use serde_json::Value;

/// The products of the demo and how many pieces of each there are: `[{"productId", "available"}]`.
pub const CATALOGUE: &str = include_str!("../catalogue.json");

/// The orders of the demo, as `POST /orders` takes them.
pub const ORDERS: &str = include_str!("../orders.json");

/// How long one order may take to become final before the seed goes on without waiting.
const WAIT: u64 = 10;

/// Where the store's public interfaces are.
#[derive(Debug, Clone, clap::Args)]
pub struct Addresses {
    /// The gateway.
    #[arg(long, env = "GATEWAY_URL", default_value = "http://127.0.0.1:8900")]
    pub gateway_url: String,
    /// The inventory service, whose seed endpoint must be enabled.
    #[arg(long, env = "INVENTORY_URL", default_value = "http://127.0.0.1:8901")]
    pub inventory_url: String,
}

/// Loads the catalogue and places the orders; `progress` hears of each step in a sentence.
///
/// Doing it again changes nothing: products that exist stay as they are, and an order that is placed again is the
/// same order.
///
/// # Errors
///
/// Where an interface cannot be reached or refuses; it says which and why.
pub async fn load(addresses: &Addresses, mut progress: impl FnMut(&str)) -> anyhow::Result<()> {
    let client = Client::builder().timeout(Duration::from_secs(WAIT + 10)).build()?;
    let seeded = send(
        client
            .post(format!("{}/automation-testing/seed", addresses.inventory_url))
            .header("content-type", "application/json")
            .body(CATALOGUE),
    )
    .await
    .context("seeding the catalogue; is the inventory service started with --automation-testing?")?;
    progress(&format!("catalogue: created {}, found {}", seeded["created"], seeded["existing"]));

    let orders: Vec<Value> = serde_json::from_str(ORDERS).context("reading the orders of the demo")?;
    for order in orders {
        let id = order["orderId"].as_str().unwrap_or_default().to_owned();
        let placed = send(
            client
                .post(format!("{}/orders", addresses.gateway_url))
                .header("idempotency-key", format!("\"seed-{id}\""))
                .header("prefer", format!("wait={WAIT}"))
                .json(&order),
        )
        .await
        .with_context(|| format!("placing {id}"))?;
        progress(&format!("{id}: {}", placed["status"].as_str().unwrap_or("accepted")));
    }
    Ok(())
}

/// Sends a request and returns the answer's body; an answer that is no success is an error with its text.
async fn send(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.text().await?;
    if !status.is_success() {
        let hint = if status == StatusCode::NOT_FOUND { " (the endpoint is not enabled)" } else { "" };
        bail!("the answer was {status}{hint}: {body}");
    }
    serde_json::from_str(&body).with_context(|| format!("reading the answer {body:?}"))
}
