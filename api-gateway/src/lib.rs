//! The gateway: REST in, commands out; queries and live events back.
//!
//! It holds no business rule and no database. A request's form is checked and everything wrong with it named at once;
//! then it is a command on JetStream, or a question to a service. In reading order:
//!
//! - [`mod@config`]; `front`: what holds for every request; `orders`, `products`, `accounts`,
//!   `notifications`: the operations;
//! - `parameter`, `body`: what comes in, parsed at the edge; `json`, `problem`: what goes out, and the one mapping of
//!   errors to HTTP;
//! - `commands` publishes, with `idempotency` for requests that are sent again; `queries` relays;
//! - `wait` holds an answer until an order is final, `accounts::outcome` until a command to an account is answered;
//!   `events` is the live feed.
//!
//! Invariants: nothing of a bad request reaches a stream; every wait has a bound; a request that was answered with
//! 503 can be sent again.

mod accounts;
mod body;
mod commands;
pub mod config;
mod events;
mod front;
mod idempotency;
mod json;
mod notifications;
mod orders;
mod parameter;
mod problem;
mod products;
mod queries;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use contracts::topology::{API_GATEWAY, COMMANDS, EVENTS, IDEMPOTENCY};
use messaging::{Health, connection, probes};
use poem_openapi::Tags;
use tokio_util::sync::CancellationToken;

use accounts::{AccountsApi, Outcomes};
use commands::Commands;
pub use config::Config;
use events::EventsApi;
use notifications::NotificationsApi;
use orders::OrdersApi;
use products::ProductsApi;
use queries::Queries;
use wait::Waiters;

/// The part of [`Health`] that says whether the streams and the bucket are there.
const STREAMS: &str = "streams";
/// How long to wait before they are looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Tags)]
enum Tag {
    /// Place, cancel, look.
    Orders,
    /// Restock, look.
    Products,
    /// Create, look, change, delete.
    Accounts,
    /// What customers were told.
    Notifications,
    /// What happens, live.
    Events,
}

/// Runs the gateway until `shutdown` is cancelled. It starts in any order with nats-server and the services, and
/// answers 503 for what is not there yet.
///
/// # Errors
///
/// Where the address is in use, or the URL of nats-server cannot be parsed.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let health = Health::default();
    health.expect(STREAMS);
    let client = connection::connect(&config.nats, API_GATEWAY, &health).await?;
    let js = connection::jetstream(&client);

    let commands = Arc::new(Commands::new(client.clone(), &js));
    let queries = Queries::new(client.clone());
    let waiters = Waiters::new(client.clone(), queries.clone(), shutdown.clone());
    let orders = OrdersApi { commands: commands.clone(), queries: queries.clone(), waiters };
    let products = ProductsApi { commands: commands.clone(), queries: queries.clone() };
    let outcomes = Outcomes::new(client.clone(), queries.clone(), shutdown.clone());
    let accounts = AccountsApi { commands, queries: queries.clone(), outcomes };
    let notifications = NotificationsApi { queries };
    let events = EventsApi::new(client, js.clone(), shutdown.clone());

    let api = (orders, products, accounts, notifications, events);
    let endpoint = front::endpoint(api, health.clone());
    tokio::select! {
        served = probes::serve(config.http_address, endpoint, shutdown) => served,
        never = watch_streams(&js, &health) => match never {},
    }
}

/// Says once that the streams and the bucket are there; until then the gateway is not ready.
async fn watch_streams(js: &jetstream::Context, health: &Health) -> std::convert::Infallible {
    loop {
        match look_for_streams(js).await {
            Ok(()) => {
                health.ok(STREAMS);
                return std::future::pending().await;
            }
            Err(why) => health.failed(STREAMS, why),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn look_for_streams(js: &jetstream::Context) -> Result<(), String> {
    for stream in [COMMANDS, EVENTS] {
        js.get_stream(stream).await.map_err(|error| format!("the stream {stream}: {error}"))?;
    }
    js.get_key_value(IDEMPOTENCY).await.map_err(|error| format!("the bucket {IDEMPOTENCY}: {error}"))?;
    Ok(())
}
