//! The rules for every request, and problems for all refusals of the router.

use std::collections::BTreeMap;
use std::sync::Arc;

use choreography::listener::{Guard, Refusal};
use poem::http::{Method, StatusCode, header};
use poem::middleware::CatchPanic;
use poem::web::Path;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, RouteMethod, get, handler};
use serde_json::Value;
use tracing::Instrument;

use crate::code::Code;
use crate::problem::{FieldError, PROBLEM_JSON, Problem, Vocabulary};
use crate::telemetry::Observation;

/// Applies the rules to all requests of an endpoint with the operations of an OpenAPI document, JSON.
///
/// The guard refuses foreign requests, unknown or duplicate query parameters are errors, panics and refusals of the
/// router become problems, and each request has metrics and a span.
pub fn with_rules(
    endpoint: impl Endpoint + 'static,
    document: &str,
    guard: Guard,
) -> impl Endpoint<Output = Response> + 'static {
    let checks = Arc::new(RequestChecks { guard, operations: Operations::read(document) });
    endpoint
        .with(CatchPanic::new().with_handler(|_| Problem::new(Code::INTERNAL)))
        .around(move |endpoint, request| observe(checks.clone(), endpoint, request))
}

/// Returns the endpoint of `/problems/:code`, which explains a problem type to clients that follow its reference.
pub fn problem_pages() -> RouteMethod {
    get(explain)
}

#[handler]
fn explain(Path(text): Path<String>) -> Response {
    match Vocabulary::codes().find(|code| code.text == text) {
        Some(Code { status, title, meaning, .. }) => {
            let text = format!("{title} ({status})\n\n{meaning}\n");
            Response::builder().header(header::CONTENT_TYPE, "text/plain; charset=utf-8").body(text)
        }
        None => Problem::new(Code::ROUTE_NOT_FOUND).into_response(),
    }
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
        Refusal::Host => Code::MISDIRECTED_REQUEST,
        Refusal::Origin => Code::FOREIGN_ORIGIN,
        Refusal::MediaType => Code::UNSUPPORTED_MEDIA_TYPE,
    };
    Problem::with_detail(code, refusal.detail())
}

/// Maps a response of the router or the HTTP library to a problem.
fn problem_for(response: &Response, operation: Option<&Operation>) -> Problem {
    match response.status() {
        StatusCode::NOT_FOUND => Problem::new(Code::ROUTE_NOT_FOUND),
        StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed(&allowed(operation)),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::BODY_TOO_LARGE),
        status if status.is_client_error() => Problem::new(Code::UNREADABLE_REQUEST),
        status => {
            tracing::error!(%status, "an error response has no problem");
            Problem::new(Code::INTERNAL)
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
    if errors.is_empty() { Ok(()) } else { Err(Problem::with_errors(Code::INVALID_PARAMETER, errors)) }
}

/// The methods of a path, each with its query parameters.
type Methods = BTreeMap<String, Vec<String>>;

/// The operations at one path of the API.
struct Operation {
    /// Such as `/bookings/{id}`.
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
