//! The routes around the API.

use std::sync::Arc;

use choreography_http::gateway::reference;
use poem::endpoint::make_sync;
use poem::{IntoEndpoint, Response, Route, get};
use poem_openapi::{OpenApi, OpenApiService};

use crate::auth::TABLE;
use crate::dashboard::Dashboard;
use crate::docs;

/// The description of the API in `/openapi.json`.
const DESCRIPTION: &str = "REST in, commands out. The gateway decides nothing: it validates a request, stores it as \
    a command and responds with 202; the services of the shop do the rest. `GET /orders/{id}`, `GET /events` and \
    `Prefer: wait` show the outcome. Requests that change an account wait by default.\n\n\
    Every error is `application/problem+json` (RFC 9457) with a stable `code`.\n\n\
    **Safe retries.** A repeated request with the same `Idempotency-Key` and the same content gets the same response, \
    and its command is processed once. With other content it is refused (422). Keys expire 24 hours after their first \
    use; a request that fails validation does not use its key up.";

/// Builds the routes of the gateway, and returns its OpenAPI document.
///
/// # Errors
///
/// If the declared messages cannot be read.
pub(crate) fn routes<A: OpenApi + 'static>(
    api: A,
    dashboard: Arc<Dashboard>,
    auth: bool,
) -> anyhow::Result<(Route, String)> {
    let service = OpenApiService::new(api, "Shop", env!("CARGO_PKG_VERSION")).description(DESCRIPTION);
    let document = if auth { TABLE.describe(&service.spec()) } else { service.spec() };
    let served = document.clone();
    let spec = make_sync(move |_| Response::builder().content_type("application/json").body(served.clone()));
    let docs = Route::new()
        .at("/", get(reference(&service)))
        .at("/events", get(docs::events_page()?))
        .at("/events.css", get(docs::events_style()));
    let routes = dashboard
        .on(Route::new())
        .at("/openapi.json", get(spec))
        .nest("/docs", docs)
        .nest("/", dashboard.before(service.into_endpoint()));
    Ok((routes, document))
}
