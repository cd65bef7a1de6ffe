//! Access control of the control API: only requests with its token, and from a browser only those of the demo's own
//! dashboard.

use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};

/// The methods that the dashboard may use across origins.
const METHODS: &str = "GET, POST";
/// The headers that the dashboard may send across origins.
const HEADERS: &str = "authorization, content-type";

/// Checks every request before it is handled: host, origin, and token.
#[derive(Debug)]
pub(super) struct Guard {
    authorization: String,
    hosts: [String; 3],
    origins: [String; 2],
}

/// The result of the check of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Rejected with an empty 403.
    Forbidden,
    /// A CORS preflight of this allowed origin.
    Preflight(HeaderValue),
    /// Allowed; `Some` with the origin if a browser sent the request.
    Allowed(Option<HeaderValue>),
}

impl Guard {
    /// Makes the guard of the listener on `port`, for the dashboard of the gateway on port `gateway`.
    pub(super) fn new(token: &str, port: u16, gateway: u16) -> Self {
        Self {
            authorization: format!("Bearer {token}"),
            // Any other host name may be DNS rebinding: a foreign site that resolves to this machine.
            hosts: ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}")),
            origins: ["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{gateway}")),
        }
    }

    /// Checks a request.
    pub(super) fn check(&self, request: &Request) -> Verdict {
        let headers = request.headers();
        if !only(headers, header::HOST).is_some_and(|host| self.hosts.iter().any(|known| known == host)) {
            return Verdict::Forbidden;
        }
        let origin = match (headers.contains_key(header::ORIGIN), only(headers, header::ORIGIN)) {
            (false, _) => None,
            (true, Some(origin)) if self.origins.iter().any(|known| known == origin) => Some(origin.clone()),
            (true, _) => return Verdict::Forbidden,
        };
        // The browser sends a preflight by itself, without the token.
        if let (&Method::OPTIONS, Some(origin)) = (request.method(), &origin)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return Verdict::Preflight(origin.clone());
        }
        match only(headers, header::AUTHORIZATION) {
            Some(given) if *given == self.authorization => Verdict::Allowed(origin),
            _ => Verdict::Forbidden,
        }
    }
}

/// Returns the value of a header that occurs exactly once.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}

/// Returns the response to an allowed preflight.
pub(super) fn preflight(origin: &HeaderValue) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS)
        .header(header::ACCESS_CONTROL_MAX_AGE, "600")
        .finish();
    add_headers(&mut response, Some(origin));
    response
}

/// Adds the headers that let a page of this origin read the response, and that forbid caching.
pub(super) fn add_headers(response: &mut Response, origin: Option<&HeaderValue>) {
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}
