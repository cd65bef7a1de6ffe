//! Who may break the demo: whoever has its token, on this machine, and in a browser only the page of its own gateway.

use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};

/// What the page may ask for across origins.
const METHODS: &str = "GET, POST";
/// The headers the page may send with it.
const HEADERS: &str = "authorization, content-type";

/// Looks at every request before anything is done.
#[derive(Debug)]
pub(super) struct Guard {
    authorization: String,
    hosts: [String; 3],
    origins: [String; 2],
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is refused, without a word.
    Forbidden,
    /// The browser of this origin asks whether its page may ask.
    Preflight(HeaderValue),
    /// It is done, for a page of this origin or for no page.
    Allowed(Option<HeaderValue>),
}

impl Guard {
    /// Guards what listens on `port` for the page of the gateway on `gateway`, both on this machine.
    pub(super) fn new(token: &str, port: u16, gateway: u16) -> Self {
        Self {
            authorization: format!("Bearer {token}"),
            // Under any other name it is somebody's trick to make a browser take us for his server.
            hosts: ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}")),
            origins: ["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{gateway}")),
        }
    }

    /// Says what becomes of a request.
    pub(super) fn judge(&self, request: &Request) -> Verdict {
        let headers = request.headers();
        if !only(headers, header::HOST).is_some_and(|host| self.hosts.iter().any(|known| known == host)) {
            return Verdict::Forbidden;
        }
        let origin = match (headers.contains_key(header::ORIGIN), only(headers, header::ORIGIN)) {
            (false, _) => None,
            (true, Some(origin)) if self.origins.iter().any(|known| known == origin) => Some(origin.clone()),
            (true, _) => return Verdict::Forbidden,
        };
        // A preflight carries no token: the browser sends it by itself.
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

/// Returns a header that is there exactly once.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}

/// Tells a browser that its page may ask.
pub(super) fn preflight(origin: &HeaderValue) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS)
        .header(header::ACCESS_CONTROL_MAX_AGE, "600")
        .finish();
    show_to(&mut response, Some(origin));
    response
}

/// Lets a page of this origin, or no page, read an answer, and nobody keep it.
pub(super) fn show_to(response: &mut Response, origin: Option<&HeaderValue>) {
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}
