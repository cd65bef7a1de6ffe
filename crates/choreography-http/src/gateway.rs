//! The frame of a gateway: connections, the watches of its dependencies, and the routes around its API.

use std::net::SocketAddr;
use std::sync::Arc;

use async_nats::Client;
use choreography::broker_storage::BrokerStorage;
use choreography::connection::{self, NatsOptions};
use choreography::durability::DurabilityOptions;
use choreography::listener::{Guard, HttpOptions, Server};
use choreography::probes::with_probes;
use choreography::{Health, clock, spans};
use poem::endpoint::make_sync;
use poem::web::Html;
use poem::{Endpoint, IntoEndpoint, Route, get};
use poem_openapi::{OpenApi, OpenApiService};
use tokio_util::sync::CancellationToken;

use crate::commands::Commands;
use crate::queries::Queries;
use crate::router::{problem_pages, with_rules};
use crate::streams::{Capacity, Streams};
use crate::waiter::Waiters;

/// The settings of a gateway. With the feature `cli` they are arguments of clap.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct Settings {
    /// Where to serve HTTP.
    #[cfg_attr(
        feature = "cli",
        arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8900", value_parser = choreography::setting::address())
    )]
    pub http_address: SocketAddr,
    /// How HTTP is served.
    #[cfg_attr(feature = "cli", command(flatten))]
    pub http: HttpOptions,
    /// The address of nats-server, and the gateway's credentials.
    #[cfg_attr(feature = "cli", command(flatten))]
    pub nats: NatsOptions,
    /// The required durability of an acknowledgement.
    #[cfg_attr(feature = "cli", command(flatten))]
    pub durability: DurabilityOptions,
}

/// What the operations of an API need.
#[derive(Clone)]
pub struct Parts {
    /// Publishes commands.
    pub commands: Arc<Commands>,
    /// Sends queries.
    pub queries: Queries,
    /// Holds responses.
    pub waiters: Waiters,
    /// The connection to nats-server.
    pub client: Client,
    /// Its readiness.
    pub health: Health,
}

/// A gateway that is connected and does not serve requests yet.
pub struct Gateway {
    parts: Parts,
    streams: Streams,
    server: Server,
    guard: Guard,
    shutdown: CancellationToken,
}

impl Gateway {
    /// Binds the address, and connects to nats-server as `name`. The gateway, nats-server, and the services can start in
    /// any order; the gateway responds with 503 while a dependency is unavailable.
    ///
    /// # Errors
    ///
    /// If the address is in use, or the URL of nats-server cannot be parsed.
    pub async fn connect(
        name: &'static str,
        capacity: Capacity,
        settings: Settings,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        spans::export_as(name)?;
        let health = Health::default();
        // The gateway's responses to a foreign `Host` or `Origin` are problems with a code, so the router refuses them.
        let server =
            Server::bind(settings.http_address, &settings.http, Some(health.clone())).await?.without_guard();
        let guard = Guard::new(server.address(), &settings.http);
        let client = connection::connect(&settings.nats, name, &health).await?;
        let js = connection::jetstream(&client);
        let commands = capacity.commands.to_owned();
        tokio::spawn(clock::watch(js.clone(), commands, health.clone(), shutdown.clone()));
        let storage = BrokerStorage {
            js: js.clone(),
            monitors: settings.durability.nats_monitor_url.clone(),
            health: health.clone(),
            shutdown: shutdown.clone(),
        };
        tokio::spawn(storage.watch());
        let streams = Streams::new(js, capacity, settings.durability, health.clone());
        let parts = Parts {
            commands: Arc::new(Commands::new(client.clone(), name, &streams)),
            queries: Queries::new(client.clone()),
            waiters: Waiters::new(client.clone(), shutdown.clone()),
            client,
            health,
        };
        Ok(Self { parts, streams, server, guard, shutdown })
    }

    /// Returns what the operations of its API need.
    #[must_use]
    pub fn parts(&self) -> Parts {
        self.parts.clone()
    }

    /// Serves an API until the shutdown; besides it `/docs`, `/openapi.json`, `/problems/:code`, the probes, and with the
    /// feature `metrics` `/metrics`.
    ///
    /// # Errors
    ///
    /// If a stream is less durable than required.
    pub async fn serve<A: OpenApi + 'static>(self, service: OpenApiService<A, ()>) -> anyhow::Result<()> {
        let document = service.spec();
        let routes = Route::new()
            .at("/docs", get(reference(&service)))
            .at("/openapi.json", get(service.spec_endpoint()))
            .nest("/", service.into_endpoint());
        self.serve_routes(routes, &document, std::future::pending()).await
    }

    /// Serves routes until the shutdown, or until the work beside them ends; `document` is the OpenAPI document of the API
    /// among them. Adds `/problems/:code`, the probes, and with the feature `metrics` `/metrics`.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve).
    pub async fn serve_routes(
        self,
        routes: Route,
        document: &str,
        beside: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let Self { parts: Parts { client, health, .. }, streams, server, guard, shutdown } = self;
        let routes = routes.at("/problems/:code", problem_pages());
        #[cfg(feature = "metrics")]
        let routes = routes.at("/metrics", get(make_sync(|_| choreography::metrics::exposition())));
        let endpoint = with_rules(with_probes(routes, health.clone()), document, guard);
        let ended = tokio::select! {
            never = connection::watch_server(client, health) => match never {},
            () = server.serve(endpoint, shutdown) => Ok(()),
            ended = streams.watch() => ended.map_err(Into::into),
            () = beside => Ok(()),
        };
        spans::flush().await;
        ended
    }
}

/// Returns the page of the API reference. The validator of Swagger UI is off: it would send the document to a server on
/// the internet.
pub fn reference<A: OpenApi>(service: &OpenApiService<A, ()>) -> impl Endpoint + 'static {
    let html = service.swagger_ui_html().replace("deepLinking: true,", "deepLinking: true, validatorUrl: null,");
    make_sync(move |_| Html(html.clone()))
}
