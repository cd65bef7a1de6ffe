//! The routes around the API.

use std::sync::Arc;

use choreography::Health;
use choreography::listener::Guard;
use choreography::metrics;
use choreography::probes::with_probes;
use choreography_http::router::{problem_pages, with_rules};
use poem::endpoint::{BoxEndpoint, make_sync};
use poem::web::Html;
use poem::{Endpoint, EndpointExt, IntoEndpoint, Route, get};
use poem_openapi::{OpenApi, OpenApiService};

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

/// Builds the endpoint of the whole gateway.
///
/// # Errors
///
/// If the declared messages cannot be read.
pub(crate) fn endpoint<A: OpenApi + 'static>(
    api: A,
    dashboard: Arc<Dashboard>,
    guard: Guard,
    health: Health,
) -> anyhow::Result<BoxEndpoint<'static>> {
    let service = OpenApiService::new(api, "Shop", env!("CARGO_PKG_VERSION")).description(DESCRIPTION);
    let spec = service.spec();
    let docs = Route::new()
        .at("/", get(reference(&service.swagger_ui_html())))
        .at("/events", get(docs::events_page()?))
        .at("/events.css", get(docs::events_style()));
    let routes = dashboard
        .on(Route::new())
        .at("/openapi.json", get(service.spec_endpoint()))
        .at("/problems/:code", problem_pages())
        .at("/metrics", get(make_sync(|_| metrics::exposition())))
        .nest("/docs", docs)
        .nest("/", dashboard.before(service.into_endpoint()));
    Ok(with_rules(with_probes(routes, health), &spec, guard).boxed())
}

/// Builds the page of the API reference. The validator of Swagger UI is off: it would send the document to a server on
/// the internet.
fn reference(html: &str) -> impl Endpoint + 'static {
    let html = html.replace("deepLinking: true,", "deepLinking: true, validatorUrl: null,");
    make_sync(move |_| Html(html.clone()))
}
