//! The catalogue, accounts, and orders of the demo, loaded through the public interfaces of the shop only.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use choreography::{http, setting};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

/// The products of the demo and the available units of each: `[{"productId", "available"}]`.
pub const CATALOGUE: &str = include_str!("../catalogue.json");

/// The accounts of the demo, bodies of `POST /accounts`: the second has a limit below the price of its order.
pub const ACCOUNTS: &str = include_str!("../accounts.json");

/// The orders of the demo, bodies of `POST /orders`: two that are confirmed, one whose payment is declined, and one
/// that waits for stock until its deadline.
pub const ORDERS: &str = include_str!("../orders.json");

/// The time limit for one order to become final or to wait for stock; after it the seed continues with the next.
const WAIT: Duration = Duration::from_secs(10);

/// The interval between two reads of an order.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The addresses of the public interfaces.
#[derive(Debug, Clone, clap::Args)]
pub struct Addresses {
    /// Base URL of the gateway.
    #[arg(long, env = "GATEWAY_URL", default_value = "http://127.0.0.1:8900", hide_env_values = true,
        value_parser = setting::http_url())]
    pub gateway_url: String,
    /// Base URL of the inventory service, whose seed endpoint must be enabled.
    #[arg(long, env = "INVENTORY_URL", default_value = "http://127.0.0.1:8901", hide_env_values = true,
        value_parser = setting::http_url())]
    pub inventory_url: String,
    /// The user that loads the data, if the shop has sign-in.
    #[command(flatten)]
    pub sign_in: SignIn,
}

/// The user that loads the data; without one, the seed does not sign in.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SignIn {
    /// The e-mail address with which the seed signs in.
    #[arg(long, env = "SEED_EMAIL", value_parser = setting::text(), requires = "seed_password")]
    pub seed_email: Option<String>,
    /// The password with which the seed signs in.
    #[arg(long, env = "SEED_PASSWORD", hide_env_values = true, value_parser = setting::secret(), requires = "seed_email")]
    pub seed_password: Option<String>,
}

/// Signs in, and returns the access token; `None` without a user, or if the shop has no sign-in.
///
/// # Errors
///
/// If the gateway cannot be reached or refuses.
pub async fn token(client: &Client, gateway: &str, sign_in: &SignIn) -> anyhow::Result<Option<String>> {
    let (Some(email), Some(password)) = (&sign_in.seed_email, &sign_in.seed_password) else { return Ok(None) };
    let credentials = json!({"email": email, "password": password});
    let response = client.post(format!("{gateway}/session")).json(&credentials).send().await?;
    if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
        return Ok(None);
    }
    let session = read(response).await?;
    let token = session["accessToken"].as_str().context("the reply of the sign-in has no access token")?;
    Ok(Some(token.to_owned()))
}

/// The gateway, and the token for it.
struct Gateway<'a> {
    client: &'a Client,
    url: &'a str,
    token: Option<String>,
}

impl Gateway<'_> {
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}/{path}", self.url));
        self.token.iter().fold(request, |request, token| request.bearer_auth(token))
    }
}

/// Loads the catalogue, opens the accounts, and places the orders; calls `progress` with one sentence per step.
///
/// Repeating it changes nothing: existing products and accounts stay unchanged, and a repeated order is the same order.
///
/// # Errors
///
/// If an interface cannot be reached or refuses; the error names it and the reason.
pub async fn load(addresses: &Addresses, mut progress: impl FnMut(&str)) -> anyhow::Result<()> {
    let client = http::client(WAIT + Duration::from_secs(10))?;
    let seeded = send(
        client
            .post(format!("{}/automation-testing/seed", addresses.inventory_url))
            .header("content-type", "application/json")
            .body(CATALOGUE),
    )
    .await
    .context("seeding the catalogue; is the inventory service started with --automation-testing?")?;
    progress(&format!("catalogue: created {}, found {}", seeded["created"], seeded["existing"]));

    let token =
        token(&client, &addresses.gateway_url, &addresses.sign_in).await.context("signing in for the seed")?;
    let gateway = Gateway { client: &client, url: &addresses.gateway_url, token };
    let accounts: Vec<Value> = serde_json::from_str(ACCOUNTS).context("reading the accounts of the demo")?;
    for account in accounts {
        let id = text(&account["customerId"]);
        let opened = open(&gateway, &account).await;
        progress(&format!("{id}: {}", opened.with_context(|| format!("opening the account of {id}"))?));
    }
    let orders: Vec<Value> = serde_json::from_str(ORDERS).context("reading the orders of the demo")?;
    for order in orders {
        let id = text(&order["orderId"]);
        let placed = place(&gateway, &order).await;
        progress(&format!("{id}: {}", placed.with_context(|| format!("placing {id}"))?));
    }
    Ok(())
}

/// Opens an account; an existing one stays unchanged.
async fn open(gateway: &Gateway<'_>, account: &Value) -> anyhow::Result<String> {
    let response = gateway.request(Method::POST, "accounts").json(account).send().await?;
    if response.status() == StatusCode::CONFLICT {
        return Ok("has an account already".to_owned());
    }
    let limit = &account["creditLimit"];
    read(response).await?;
    // In minor units.
    let amount = limit["amount"].as_u64().unwrap_or_default();
    Ok(format!("account opened, credit limit {} {}.{:02}", text(&limit["currency"]), amount / 100, amount % 100))
}

/// Places an order and returns its status once it is final or waits for stock.
async fn place(gateway: &Gateway<'_>, order: &Value) -> anyhow::Result<String> {
    let id = text(&order["orderId"]);
    let key = format!("\"seed-{id}\"");
    send(gateway.request(Method::POST, "orders").header("idempotency-key", key).json(order)).await?;
    let start = Instant::now();
    loop {
        let response = gateway.request(Method::GET, &format!("orders/{id}")).send().await?;
        // The command may not have been handled yet.
        let seen = if response.status() == StatusCode::NOT_FOUND { Value::Null } else { read(response).await? };
        let status = seen["status"].as_str().unwrap_or("accepted");
        let settled = matches!(status, "confirmed" | "cancelled" | "awaiting-stock");
        if settled || start.elapsed() > WAIT {
            let reason = seen["reason"]["code"].as_str().map(|code| format!(" ({code})"));
            return Ok(format!("{status}{}", reason.unwrap_or_default()));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Sends a request and returns the body of the response; any status but success is an error with the body's text.
async fn send(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    read(request.send().await?).await
}

async fn read(response: reqwest::Response) -> anyhow::Result<Value> {
    let status = response.status();
    let body = response.text().await?;
    if !status.is_success() {
        let hint = if status == StatusCode::NOT_FOUND { " (the endpoint is not enabled)" } else { "" };
        bail!("the response was {status}{hint}: {body}");
    }
    serde_json::from_str(&body).with_context(|| format!("reading the response {body:?}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
