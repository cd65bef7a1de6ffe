//! The telemetry of requests: counters and durations by route, and, if export is configured, spans.

use std::sync::LazyLock;
use std::time::Instant;

use choreography::envelope::TRACE_PARENT;
use choreography::metrics::{self, Counters, Histograms};
use choreography::spans::{self, KeyValue, SpanKind, StartedSpan};
use poem::http::{HeaderValue, Method};
use poem::{Request, Response};
use tracing::Span;

/// The metrics of requests.
struct RequestMetrics {
    requests: Counters,
    durations: Histograms,
}

static METRICS: LazyLock<RequestMetrics> = LazyLock::new(|| RequestMetrics {
    requests: metrics::counters("http_requests", "Responses, by method, route, and status"),
    durations: metrics::histograms(
        "http_server_request_duration_seconds",
        "From a request to the beginning of its response, by method, route, and status",
    ),
});

/// A request that is being processed.
pub(crate) struct Observation {
    method: &'static str,
    route: String,
    began: Instant,
    begun: Option<StartedSpan>,
    /// The span of the request's log lines.
    pub(crate) span: Span,
}

impl Observation {
    /// Begins a request: `route` is the operation's template, or `None` for a path outside the document. Puts the
    /// span's trace context into the request's headers.
    pub(crate) fn begin(request: &mut Request, route: Option<&str>) -> Self {
        let method = known(request.method());
        let given = |request: &Request| request.header(TRACE_PARENT).map(str::to_owned);
        let begun = route.and_then(|_| StartedSpan::request(given(request).as_deref()));
        if let Some(carried) = begun.and_then(|begun| HeaderValue::try_from(begun.trace_parent()).ok()) {
            request.headers_mut().insert(TRACE_PARENT, carried);
        }
        let route = route.unwrap_or("other").to_owned();
        let carried = given(request);
        let span = match spans::trace_id(carried.as_deref()) {
            Some(trace_id) => tracing::info_span!("request", trace.id = trace_id, http.route = route),
            None => Span::none(),
        };
        Self { method, route, began: Instant::now(), begun, span }
    }

    /// Records the response.
    pub(crate) fn end(self, response: &Response) {
        let Self { method, route, began, begun, .. } = self;
        let status = response.status();
        let status_code = status.as_u16().to_string();
        let labels = vec![("method", method.to_owned()), ("route", route.clone()), ("status", status_code)];
        METRICS.durations.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
        METRICS.requests.get_or_create(&labels).inc();
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

/// Returns the name of a standard method, otherwise `other`: clients can send any name, and labels must be bounded.
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
