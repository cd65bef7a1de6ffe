//! Seeding: products with practically unlimited stock, and accounts with practically unlimited credit.

use std::time::Duration;

use anyhow::{Context, bail};
use choreography::http;
use contracts::money::MAX_AMOUNT;
use demo::{Component, ShopConfig};
use futures::{TryStreamExt, stream};
use serde_json::{Value, json};

use crate::orders::{customer_id, product_id};

/// The available units of each product.
const UNITS: u64 = 1_000_000_000_000;
/// The maximum number of products per request.
const MAX_PRODUCTS: u64 = 10_000;
/// The number of concurrent requests.
const CONCURRENT: usize = 16;
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Adds `count` products.
///
/// # Errors
///
/// If the inventory service refuses.
pub async fn products(config: &ShopConfig, count: u64) -> anyhow::Result<()> {
    let http = http::client(TIMEOUT)?;
    let url = format!("{}/automation-testing/seed", config.http_url(Component::InventoryService));
    for first in (0..count).step_by(usize::try_from(MAX_PRODUCTS)?) {
        let products = first..count.min(first + MAX_PRODUCTS);
        let catalogue: Vec<Value> =
            products.map(|n| json!({"productId": product_id(n), "available": UNITS})).collect();
        post(&http, &url, &json!(catalogue)).await.context("adding products")?;
    }
    Ok(())
}

/// Opens `count` accounts.
///
/// # Errors
///
/// If the gateway refuses.
pub async fn accounts(config: &ShopConfig, count: u64) -> anyhow::Result<()> {
    let http = http::client(TIMEOUT)?;
    let url = format!("{}/accounts", config.http_url(Component::ApiGateway));
    stream::iter((0..count).map(Ok))
        .try_for_each_concurrent(CONCURRENT, |number| {
            let (http, url) = (&http, &url);
            async move { post(http, url, &account(number)).await.context("opening an account") }
        })
        .await
}

fn account(number: u64) -> Value {
    json!({
        "customerId": customer_id(number),
        "name": format!("Customer {number}"),
        "addresses": [{"type": "shipping", "street": "1 Harbour Road", "postalCode": "20457", "city": "Hamburg", "country": "DE"}],
        "contact": {"email": format!("customer-{number}@example.org")},
        "card": {"token": format!("tok_{number}"), "brand": "Visa", "lastFour": "4242", "expiry": "2099-12"},
        "creditLimit": {"amount": MAX_AMOUNT, "currency": "EUR"},
    })
}

async fn post(http: &reqwest::Client, url: &str, body: &Value) -> anyhow::Result<()> {
    let response = http.post(url).json(body).send().await?;
    let status = response.status();
    if !status.is_success() {
        bail!("{url} responded with {status}: {}", response.text().await.unwrap_or_default());
    }
    Ok(())
}
