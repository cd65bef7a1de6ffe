//! The gateway: REST in, commands out; queries and live events back.
//!
//! It has no business rule and no database. It validates a request and reports all errors at once. A valid request
//! becomes a command on JetStream, or a query to a service. In reading order:
//!
//! - [`mod@config`]; `router`: the routes around the API; `docs`: the page of all messages; `problems`: the shop's codes;
//!   `fields`: the shop's values in requests;
//! - `orders`, `products`, `accounts`, `notifications`, `reports`: the operations, each with its forms and representations;
//! - `invariants` checks consistency; `events` is the live feed, `overview` the system overview;
//! - `dashboard`: the files of `web/`, served at `/`;
//! - [`operations`]: dead letters and projections, for operators, behind a switch;
//! - `test_entry_points`: the parsers, exposed to tests.
//!
//! `choreography_http` does the rest: problems, parameters, bodies, idempotency keys, admission of commands, waiting,
//! server-sent events, metrics.
//!
//! Invariants: nothing of an invalid request reaches a stream; every wait has a time limit; a request that got 503 can
//! be repeated.

mod accounts;
pub mod auth;
pub mod config;
mod dashboard;
mod docs;
mod events;
mod fields;
mod invariants;
mod notifications;
pub mod operations;
mod orders;
mod overview;
mod problems;
mod products;
mod reports;
mod router;
mod sessions;
#[doc(hidden)]
pub mod test_entry_points;

use std::sync::Arc;
use std::time::Duration;

use choreography::{Running, connection};
use choreography_http::feed::Feed;
use choreography_http::gateway::{Gateway, Parts, Settings};
use choreography_http::overview::Overview;
use choreography_http::sse::SseConnections;
use choreography_http::streams::Capacity;
use choreography_http::waiter::Waiters;
use contracts::capacity::follow_up;
use contracts::declaration::topology_for;
use contracts::topology::{API_GATEWAY, COMMANDS, EVENTS, IDEMPOTENCY, ORDER_SERVICE, TIMERS};
use poem::{EndpointExt, Route};
use poem_openapi::Tags;
use tokio_util::sync::CancellationToken;

use accounts::AccountsApi;
pub use config::Config;
use dashboard::Dashboard;
pub use dashboard::DashboardOptions;
use events::EventsApi;
use invariants::InvariantsApi;
use notifications::NotificationsApi;
use orders::OrdersApi;
use overview::OverviewApi;
use products::ProductsApi;
use reports::ReportsApi;

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
    /// Sales, and summaries of customers.
    Reports,
    /// Live events, the system overview, and the consistency check.
    Events,
    /// Dead letters and projections, for operators. Served, and in this document, only if the gateway is started with `--operations`;
    /// otherwise these paths do not exist (404, `route-not-found`). Without sign-in they require no password.
    Operations,
}

/// Returns the shop's streams and their limits.
fn capacity(max_backlog: u64, auth: bool) -> anyhow::Result<Capacity> {
    Ok(Capacity {
        topology: topology_for(auth)?,
        commands: COMMANDS,
        events: EVENTS,
        timers: TIMERS,
        longest_deadline: Duration::from_secs(24 * 3600),
        bucket: IDEMPOTENCY,
        max_backlog,
        follow_up,
        // An order causes the most events.
        follow_up_of_commands: follow_up(ORDER_SERVICE),
    })
}

/// Runs the gateway until `shutdown` is cancelled. The gateway, nats-server, and the services can start in any order;
/// the gateway responds with 503 while a dependency is unavailable.
///
/// # Errors
///
/// If the address is in use, the URL of nats-server cannot be parsed, or a stream is less durable than required.
pub fn run(config: Config, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        problems::VOCABULARY.install();
        let Config { http_address, http, nats, durability, max_backlog, auth, operations, dashboard } = config;
        let connections = http.connections();
        let settings = Settings { http_address, http, nats: nats.clone(), durability };
        let gateway =
            Gateway::connect(API_GATEWAY, capacity(max_backlog, auth.auth)?, settings, shutdown.clone()).await?;
        let Parts { commands, queries, waiters, client, health } = gateway.parts();
        let js = connection::jetstream(&client);
        let sessions_client = client.clone();
        let authorization = Arc::new(auth::authorization(&auth, &client, &js));
        let explainer = choreography_ops::Operator::over(
            client.clone(),
            js.clone(),
            health.clone(),
            choreo::shop_for(auth.auth)?,
        );
        let invariants = InvariantsApi::new(explainer.clone());
        let products = ProductsApi { commands: commands.clone(), queries: queries.clone() };
        let notifications = NotificationsApi { queries: queries.clone() };
        let reports = ReportsApi { queries: queries.clone() };
        let accounts = AccountsApi {
            commands: commands.clone(),
            queries: queries.clone(),
            waiters: Waiters::new(client.clone(), shutdown.clone()),
            client: client.clone(),
        };
        let orders = OrdersApi { commands, queries, waiters, explainer };
        // Streams of events use at most half of the connections; the rest is for other requests.
        let feeds = || SseConnections::new((connections / 4).max(1), shutdown.clone());
        let events = EventsApi { feed: Feed::new(client.clone(), js.clone(), API_GATEWAY, feeds()) };
        let overview = Overview::new(feeds());
        let following = overview.follow(client, js, overview::shop(), overview::state_json);
        let overview = OverviewApi { overview };

        let page = Arc::new(Dashboard::new(&dashboard, operations.enabled)?);
        let api = (orders, products, accounts, notifications, reports, events, overview, invariants);
        let (routes, document) = match operations::connect(&operations, &nats, &health).await? {
            Some(operations) => router::routes((api, operations), page, auth.auth)?,
            None => router::routes(api, page, auth.auth)?,
        };
        let routes = if auth.auth { sessions::routes(routes, &sessions_client) } else { routes };
        let authorized = routes.around(move |endpoint, request| authorization.clone().respond(endpoint, request));
        let routes = Route::new().nest("/", authorized);
        gateway.serve_routes(routes, &document, following).await
    })
}
