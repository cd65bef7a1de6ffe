//! The gateway: REST in, commands out; queries and live events back.
//!
//! It holds no business rule and no database. A request's form is checked and everything wrong with it named at once;
//! then it is a command on JetStream, or a question to a service. In reading order:
//!
//! - [`mod@config`]; `router`: what holds for every request; `docs`: the page of all messages; `orders`, `products`, `accounts`,
//!   `notifications`: the operations;
//! - `parameter`, `body`: what comes in, parsed at the edge; `json`, `problem`: what goes out, and the one mapping of
//!   errors to HTTP;
//! - `streams` knows whether there is room; `commands` publishes, with `idempotency` for requests that are sent again; `queries` relays;
//! - `wait` holds an answer until an order is final, `accounts::outcome` until a command to an account is answered;
//!   `invariants` says whether everything is consistent; `events` is the live feed, `overview` the shop seen from above; both read with `stream_follower`;
//! - `dashboard`: the files of `web/`, served at `/`;
//! - [`operations`]: dead letters, for operators, behind a switch; `telemetry`: what is counted and told of requests;
//! - `test_entry_points`: the doors through which tests reach what parses.
//!
//! Invariants: nothing of a bad request reaches a stream; every wait has a bound; a request that was answered with
//! 503 can be sent again.

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
mod queries;
mod router;
mod stream_follower;
mod streams;
mod telemetry;
#[doc(hidden)]
pub mod test_entry_points;
mod wait;

use std::sync::Arc;

use contracts::topology::{API_GATEWAY, COMMANDS};
use messaging::listener::{Guard, Server};
use messaging::{Health, clock, connection, spans};
use poem_openapi::Tags;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use accounts::{AccountsApi, Outcomes};
use commands::Commands;
pub use config::Config;
use dashboard::Dashboard;
pub use dashboard::PageOptions;
use events::EventsApi;
use invariants::InvariantsApi;
use notifications::NotificationsApi;
use operations::OperationsApi;
use orders::OrdersApi;
use overview::OverviewApi;
use products::ProductsApi;
use queries::Queries;
use streams::{Known, Streams};
use wait::Waiters;

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
    /// What happens, live, and whether it is consistent.
    Events,
    /// Dead letters, for operators. Served, and in this document, only where the gateway is started with
    /// `--operations`; everywhere else these paths do not exist (404, `route-not-found`). No password is asked for.
    Operations,
}

/// Runs the gateway until `shutdown` is cancelled. It starts in any order with nats-server and the services, and
/// answers 503 for what is not there yet.
///
/// # Errors
///
/// Where the address is in use, the URL of nats-server cannot be parsed, or an acknowledgement is worth less than it must
/// be.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    spans::export_as(API_GATEWAY)?;
    let health = Health::default();
    let client = connection::connect(&config.nats, API_GATEWAY, &health).await?;
    let js = connection::jetstream(&client);
    let watched = client.clone();

    tokio::spawn(clock::watch(js.clone(), COMMANDS, health.clone(), shutdown.clone()));
    let (known, streams_known) = watch::channel(Known::default());
    let streams = Streams {
        js: js.clone(),
        options: config.durability,
        max_backlog: config.max_backlog,
        health: health.clone(),
        known,
    };
    let commands = Arc::new(Commands::new(client.clone(), &js, streams_known));
    let queries = Queries::new(client.clone());
    let waiters = Waiters::new(client.clone(), queries.clone(), shutdown.clone());
    let explainer = choreo::Operator::over(client.clone(), js.clone(), health.clone());
    let invariants = InvariantsApi::new(explainer.clone())?;
    let orders = OrdersApi { commands: commands.clone(), queries: queries.clone(), waiters, explainer };
    let products = ProductsApi { commands: commands.clone(), queries: queries.clone() };
    let outcomes = Outcomes::new(client.clone(), queries.clone(), shutdown.clone());
    let accounts = AccountsApi { commands, queries: queries.clone(), outcomes };
    let notifications = NotificationsApi { queries };
    // Streams of events take half of the connections at most, and leave the rest to requests.
    let clients = (config.http.connections() / 4).max(1);
    let events = EventsApi::new(client.clone(), js.clone(), clients, shutdown.clone());
    let overview = OverviewApi::new(clients, shutdown.clone());
    let following = overview.follow(client, js);

    // Its responses to a foreign `Host` or `Origin` are problems with a code, so the front refuses them.
    let server = Server::bind(config.http_address, &config.http, Some(health.clone())).await?.without_guard();
    let guard = Guard::new(server.address(), &config.http);
    let page = Arc::new(Dashboard::new(&config.page, config.operations.enabled)?);
    let api = (orders, products, accounts, notifications, events, overview, invariants);
    let endpoint = match OperationsApi::connect(&config.operations, &config.nats, &health).await? {
        Some(operations) => router::endpoint((api, operations), page, guard, health.clone())?,
        None => router::endpoint(api, page, guard, health.clone())?,
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
