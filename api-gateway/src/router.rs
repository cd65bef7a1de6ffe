//! The rules for every request: the routes around the API, and problems for all refusals of the router.

use std::collections::BTreeMap;
use std::sync::Arc;

use choreography::Health;
use choreography::listener::{Guard, Refusal};
use choreography::metrics;
use choreography::probes::with_probes;
use poem::endpoint::{BoxEndpoint, make_sync};
use poem::http::{Method, StatusCode, header};
use poem::middleware::CatchPanic;
use poem::web::{Html, Path};
use poem::{Endpoint, EndpointExt, IntoEndpoint, IntoResponse, Request, Response, Route, get, handler};
use poem_openapi::{OpenApi, OpenApiService};
use serde_json::Value;
use tracing::Instrument;

use crate::dashboard::Dashboard;
use crate::docs;
use crate::problem::{Code, FieldError, PROBLEM_JSON, Problem};
use crate::telemetry::Observation;

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
    let checks = Arc::new(RequestChecks { guard, operations: Operations::read(&spec) });
    let docs = Route::new()
        .at("/", get(reference(&service.swagger_ui_html())))
        .at("/events", get(docs::events_page()?))
        .at("/events.css", get(docs::events_style()));
    let routes = dashboard
        .on(Route::new())
        .at("/openapi.json", get(service.spec_endpoint()))
        .at("/problems/:code", get(explain))
        .at("/metrics", get(make_sync(|_| metrics::exposition())))
        .nest("/docs", docs)
        .nest("/", dashboard.before(service.into_endpoint()));
    Ok(with_probes(routes, health)
        .with(CatchPanic::new().with_handler(|_| Problem::new(Code::Internal)))
        .around(move |endpoint, request| observe(checks.clone(), endpoint, request))
        .boxed())
}

/// Builds the page of the API reference. The validator of Swagger UI is off: it would send the document to a server on
/// the internet.
fn reference(html: &str) -> impl Endpoint + 'static {
    let html = html.replace("deepLinking: true,", "deepLinking: true, validatorUrl: null,");
    make_sync(move |_| Html(html.clone()))
}

/// The checks of every request.
struct RequestChecks {
    guard: Guard,
    operations: Operations,
}

/// Responds to a request, and records it in metrics and spans.
async fn observe<E: Endpoint>(
    checks: Arc<RequestChecks>,
    endpoint: Arc<E>,
    mut request: Request,
) -> poem::Result<Response> {
    let operation = checks.operations.at(request.uri().path());
    let observation = Observation::begin(&mut request, operation.map(|operation| operation.template.as_str()));
    let response = match checks.guard.check(&request) {
        Ok(()) => respond(operation, endpoint, request).instrument(observation.span.clone()).await?,
        Err(refusal) => refused(refusal).into_response(),
    };
    observation.end(&response);
    Ok(response)
}

/// Responds to a request; a refusal of the router becomes a problem.
async fn respond<E: Endpoint>(
    operation: Option<&Operation>,
    endpoint: Arc<E>,
    request: Request,
) -> poem::Result<Response> {
    // The router treats HEAD like GET.
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    if let Some(known) = operation.and_then(|operation| operation.methods.get(method.as_str()))
        && let Err(problem) = check_query(&request, known)
    {
        return Ok(problem.into_response());
    }
    let is_probe = request.uri().path() == "/readiness";
    let mut response = match endpoint.call(request).await {
        Ok(response) => response.into_response(),
        Err(error) => error.into_response(),
    };
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let described = response.content_type().is_some_and(|media_type| media_type == PROBLEM_JSON);
    if failed && !described && !is_probe {
        response = problem_for(&response, operation).into_response();
    }
    Ok(response)
}

/// Maps a refusal of the guard to a problem.
fn refused(refusal: Refusal) -> Problem {
    let code = match refusal {
        Refusal::Host => Code::MisdirectedRequest,
        Refusal::Origin => Code::ForeignOrigin,
        Refusal::MediaType => Code::UnsupportedMediaType,
    };
    Problem::with_detail(code, refusal.detail())
}

/// Maps a response of the router or the HTTP library to a problem.
fn problem_for(response: &Response, operation: Option<&Operation>) -> Problem {
    match response.status() {
        StatusCode::NOT_FOUND => Problem::new(Code::RouteNotFound),
        StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed(&allowed(operation)),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::BodyTooLarge),
        status if status.is_client_error() => Problem::new(Code::UnreadableRequest),
        status => {
            tracing::error!(%status, "an error response has no problem");
            Problem::new(Code::Internal)
        }
    }
}

fn allowed(operation: Option<&Operation>) -> String {
    match operation {
        Some(operation) => operation.methods.keys().cloned().collect::<Vec<_>>().join(", "),
        // The routes that are not in the document: the document itself, its page, the probes.
        None => "GET".to_owned(),
    }
}

/// Refuses unknown and duplicate query parameters: a filter with a misspelt name would select everything.
fn check_query(request: &Request, known: &[String]) -> Result<(), Problem> {
    let parameters = request.params::<Vec<(String, String)>>().unwrap_or_default();
    let mut errors = Vec::new();
    for (index, (name, _)) in parameters.iter().enumerate() {
        if !known.contains(name) {
            errors.push(FieldError::parameter(name, "is not a parameter of this operation"));
        } else if parameters.iter().take(index).any(|(earlier, _)| earlier == name) {
            errors.push(FieldError::parameter(name, "must be given once"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::with_errors(Code::InvalidParameter, errors)) }
}

/// The methods of a path, each with its query parameters.
type Methods = BTreeMap<String, Vec<String>>;

/// The operations at one path of the API.
struct Operation {
    /// Such as `/orders/{id}`.
    template: String,
    methods: Methods,
}

/// The operations of the API, read from its own document.
struct Operations(Vec<Operation>);

impl Operations {
    fn read(spec: &str) -> Self {
        let document: Value = serde_json::from_str(spec).unwrap_or_default();
        let paths = document["paths"].as_object().into_iter().flatten();
        Self(paths.map(|(path, item)| Operation { template: path.clone(), methods: methods(item) }).collect())
    }

    /// Returns the operations at a path, if the API has it.
    fn at(&self, path: &str) -> Option<&Operation> {
        let operations = self.0.iter().filter(|operation| operation.matches(path));
        // If several match, the router takes the one with the fewest parameters.
        operations.min_by_key(|operation| operation.template.matches('{').count())
    }
}

impl Operation {
    fn matches(&self, path: &str) -> bool {
        let (mut known, mut given) = (segments(&self.template), segments(path));
        loop {
            match (known.next(), given.next()) {
                (None, None) => return true,
                (Some(known), Some(given)) if known.starts_with('{') || known == given => {}
                _ => return false,
            }
        }
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('/').split('/')
}

fn methods(item: &Value) -> Methods {
    let operations = item.as_object().into_iter().flatten();
    let query = |operation: &Value| -> Vec<String> {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let names = parameters.filter(|parameter| parameter["in"] == "query");
        names.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect()
    };
    operations.map(|(method, operation)| (method.to_ascii_uppercase(), query(operation))).collect()
}

/// Explains a problem type to clients that follow its reference.
#[handler]
fn explain(Path(text): Path<String>) -> Response {
    match Code::ALL.iter().find(|code| code.as_str() == text) {
        Some(code) => {
            let status = code.status();
            let text = format!("{} ({})\n\n{}\n", code.title(), status, code.meaning());
            Response::builder().header(header::CONTENT_TYPE, "text/plain; charset=utf-8").body(text)
        }
        None => Problem::new(Code::RouteNotFound).into_response(),
    }
}
