//! What is told of each request: counted by route, measured, and, where somebody wants to know, a span of its flow.

use std::sync::LazyLock;
use std::time::Instant;

use messaging::envelope::TRACE_PARENT;
use messaging::metrics::{self, Counters, Histograms};
use messaging::spans::{self, KeyValue, SpanKind, StartedSpan};
use poem::http::{HeaderValue, Method};
use poem::{Request, Response};
use tracing::Span;

/// What is counted of requests.
struct Counted {
    requests: Counters,
    durations: Histograms,
}

static COUNTED: LazyLock<Counted> = LazyLock::new(|| Counted {
    requests: metrics::counters("http_requests", "Requests answered, by method, route, and status"),
    durations: metrics::histograms(
        "http_server_request_duration_seconds",
        "From a request to the beginning of its answer, by method and route",
    ),
});

/// A request that is being answered.
pub(crate) struct Seen {
    method: &'static str,
    route: String,
    began: Instant,
    begun: Option<StartedSpan>,
    /// What the logs of the request say of it.
    pub(crate) logged: Span,
}

impl Seen {
    /// Looks at a request: `route` is the operation's template, or none for what the document does not have. Lets what
    /// follows from the request carry its span.
    pub(crate) fn begin(request: &mut Request, route: Option<&str>) -> Self {
        let method = known(request.method());
        let given = |request: &Request| request.header(TRACE_PARENT).map(str::to_owned);
        let begun = route.and_then(|_| StartedSpan::request(given(request).as_deref()));
        if let Some(carried) = begun.and_then(|begun| HeaderValue::try_from(begun.trace_parent()).ok()) {
            request.headers_mut().insert(TRACE_PARENT, carried);
        }
        let route = route.unwrap_or("other").to_owned();
        let carried = given(request);
        let logged = match spans::trace_id(carried.as_deref()) {
            Some(trace_id) => tracing::info_span!("request", trace.id = trace_id, http.route = route),
            None => Span::none(),
        };
        Self { method, route, began: Instant::now(), begun, logged }
    }

    /// Counts the answer and tells of it.
    pub(crate) fn end(self, response: &Response) {
        let Self { method, route, began, begun, .. } = self;
        let status = response.status();
        let labels = vec![("method", method.to_owned()), ("route", route.clone())];
        COUNTED.durations.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
        let labels = labels.into_iter().chain([("status", status.as_u16().to_string())]).collect();
        COUNTED.requests.get_or_create(&labels).inc();
        if let Some(begun) = begun {
            let attributes = vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", route.clone()),
                KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
            ];
            let error = status.is_server_error().then(|| status.to_string());
            begun.end(format!("{method} {route}"), SpanKind::Server, attributes, error);
        }
    }
}

/// Returns the name of a method: of those there are, for anybody may think one up.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
