//! `/liveness` and `/readiness` over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json};
use poem::{Endpoint, EndpointExt, IntoResponse, Response, Route, Server, get, handler};
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// Requests under way get this long to finish at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Adds the probes to routes:
///
/// - `GET /liveness`: 200 while the process answers at all;
/// - `GET /readiness`: 200 where every part does its work, 503 otherwise, with each part and what is wrong with it.
#[must_use]
pub fn with_probes(routes: Route, health: Health) -> Route {
    let routes = routes.at("/liveness", get(liveness));
    routes.at("/readiness", get(readiness).data(health))
}

#[handler]
fn liveness() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "alive": true }))
}

#[handler]
fn readiness(Data(health): Data<&Health>) -> Response {
    let readiness = health.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Json(readiness).with_status(status).into_response()
}

/// Serves routes until shutdown.
///
/// # Errors
///
/// Where the address cannot be bound (it says which and why) or the server fails.
pub async fn serve<E>(address: SocketAddr, endpoint: E, shutdown: CancellationToken) -> anyhow::Result<()>
where
    E: Endpoint + 'static,
{
    let acceptor = TcpListener::bind(address)
        .into_acceptor()
        .await
        .with_context(|| format!("listening on {address}; is another program using that port?"))?;
    let bound = acceptor.local_addr().into_iter().find_map(|bound| bound.as_socket_addr().copied());
    tracing::info!(address = %bound.unwrap_or(address), "serving HTTP");
    Server::new_with_acceptor(acceptor)
        .run_with_graceful_shutdown(endpoint, shutdown.cancelled_owned(), Some(DRAIN))
        .await
        .context("serving HTTP")
}
