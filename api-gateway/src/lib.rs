//! The gateway: REST in, commands out; queries and live events back.
//!
//! It has no business rule and no database. It validates a request and reports all errors at once. A valid request
//! becomes a command on JetStream, or a query to a service. In reading order:
//!
//! - [`mod@config`]; `router`: the rules for every request; `docs`: the page of all messages; `orders`, `products`,
//!   `accounts`, `notifications`: the operations;
//! - `parameter`, `body`: input, parsed at the edge; `json`, `problem`: output, and the one mapping of errors to HTTP;
//! - `streams` measures capacity; `commands` publishes, with `idempotency` for repeated requests, and `publishing`
//!   tracks the outcomes; `queries` relays;
//! - `wait` holds a response until an order is final, `accounts::outcome` until the account service has replied;
//!   `invariants` checks consistency; `events` is the live feed, `overview` the system overview; both read with
//!   `stream_follower`;
//! - `dashboard`: the files of `web/`, served at `/`;
//! - [`operations`]: dead letters, for operators, behind a switch; `telemetry`: the metrics and spans of requests;
//! - `test_entry_points`: the parsers, exposed to tests.
//!
//! Invariants: nothing of an invalid request reaches a stream; every wait has a time limit; a request that got 503 can
//! be repeated.

mod accounts;
mod body;
mod commands;
pub mod config;
mod dashboard;
mod docs;
mod events;
mod idempotency;
mod invariants;
mod json;
mod notifications;
pub mod operations;
mod orders;
mod overview;
mod parameter;
mod problem;
mod products;
mod publishing;
mod queries;
mod router;
mod stream_follower;
mod streams;
mod telemetry;
#[doc(hidden)]
pub mod test_entry_points;
mod wait;

use std::sync::Arc;

use choreography::broker_storage::BrokerStorage;
use choreography::listener::{Guard, Server};
use choreography::{Health, clock, connection, spans};
use contracts::topology::{API_GATEWAY, COMMANDS};
use poem_openapi::Tags;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use accounts::{AccountsApi, Outcomes};
use commands::Commands;
pub use config::Config;
use dashboard::Dashboard;
pub use dashboard::DashboardOptions;
use events::EventsApi;
use invariants::InvariantsApi;
use notifications::NotificationsApi;
use operations::OperationsApi;
use orders::OrdersApi;
use overview::OverviewApi;
use products::ProductsApi;
use publishing::Publishing;
use queries::Queries;
use streams::{Known, Streams};
use wait::Waiters;

#[derive(Tags)]
enum Tag {
    /// Place, cancel, get.
    Orders,
    /// Restock, get.
    Products,
    /// Create, get, update, delete.
    Accounts,
    /// The messages sent to customers.
    Notifications,
    /// Live events, the system overview, and the consistency check.
    Events,
    /// Dead letters, for operators. Served, and in this document, only if the gateway is started with `--operations`;
    /// otherwise these paths do not exist (404, `route-not-found`). They require no password.
    Operations,
}

/// Runs the gateway until `shutdown` is cancelled. The gateway, nats-server, and the services can start in any order;
/// the gateway responds with 503 while a dependency is unavailable.
///
/// # Errors
///
/// If the address is in use, the URL of nats-server cannot be parsed, or a stream is less durable than required.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    spans::export_as(API_GATEWAY)?;
    let health = Health::default();
    let client = connection::connect(&config.nats, API_GATEWAY, &health).await?;
    let js = connection::jetstream(&client);
    let watched = client.clone();

    tokio::spawn(clock::watch(js.clone(), COMMANDS.to_owned(), health.clone(), shutdown.clone()));
    let storage = BrokerStorage {
        js: js.clone(),
        monitors: config.durability.nats_monitor_url.clone(),
        health: health.clone(),
        shutdown: shutdown.clone(),
    };
    tokio::spawn(storage.watch());
    let publishing = Arc::new(Publishing::new(health.clone()));
    let (known, streams_known) = watch::channel(Known::default());
    let streams = Streams {
        js: js.clone(),
        options: config.durability,
        max_backlog: config.max_backlog,
        health: health.clone(),
        known,
        publishing: publishing.clone(),
    };
    let commands = Arc::new(Commands::new(client.clone(), &js, streams_known, publishing));
    let queries = Queries::new(client.clone());
    let waiters = Waiters::new(client.clone(), queries.clone(), shutdown.clone());
    let explainer = choreography_ops::Operator::over(client.clone(), js.clone(), health.clone(), choreo::shop()?);
    let invariants = InvariantsApi::new(explainer.clone());
    let orders = OrdersApi { commands: commands.clone(), queries: queries.clone(), waiters, explainer };
    let products = ProductsApi { commands: commands.clone(), queries: queries.clone() };
    let outcomes = Outcomes::new(client.clone(), queries.clone(), shutdown.clone());
    let accounts = AccountsApi { commands, queries: queries.clone(), outcomes };
    let notifications = NotificationsApi { queries };
    // Streams of events use at most half of the connections; the rest is for other requests.
    let clients = (config.http.connections() / 4).max(1);
    let events = EventsApi::new(client.clone(), js.clone(), clients, shutdown.clone());
    let overview = OverviewApi::new(clients, shutdown.clone());
    let following = overview.follow(client, js);

    // The gateway's responses to a foreign `Host` or `Origin` are problems with a code, so the router refuses them.
    let server = Server::bind(config.http_address, &config.http, Some(health.clone())).await?.without_guard();
    let guard = Guard::new(server.address(), &config.http);
    let dashboard = Arc::new(Dashboard::new(&config.dashboard, config.operations.enabled)?);
    let api = (orders, products, accounts, notifications, events, overview, invariants);
    let endpoint = match OperationsApi::connect(&config.operations, &config.nats, &health).await? {
        Some(operations) => router::endpoint((api, operations), dashboard, guard, health.clone())?,
        None => router::endpoint(api, dashboard, guard, health.clone())?,
    };
    let watch = connection::watch_server(watched, health);
    let ended = tokio::select! {
        never = watch => match never {},
        () = server.serve(endpoint, shutdown) => Ok(()),
        ended = streams.watch() => ended,
        ended = following => ended,
    };
    spans::flush().await;
    ended
}
