//! Requests that are refused before they are routed: by their `Host`, their `Origin`, or their media type.
//!
//! A web page elsewhere can make a browser send requests to this machine. With a name that resolves here (DNS
//! rebinding) it could even read the responses; `Host` reveals that. A form, or a script without a CORS preflight, can
//! send `text/plain` and forms; `Origin` and the media type reveal that. Embedded resources (an image, a script, a
//! frame) are requested without an `Origin`; browsers mark them with `Sec-Fetch-Site`.

use std::net::{IpAddr, SocketAddr};

use poem::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use poem::{IntoResponse, Request, Response};
use serde_json::json;

use super::options::HttpOptions;

/// The media types that a page may send to any origin without a preflight (the Fetch standard's safelist).
const FORMS: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `Host` is missing, repeated, or not a name of this server.
    Host,
    /// `Origin` is neither the server's own nor an allowed one; or there is none, and `Sec-Fetch-Site` reports another
    /// page.
    Origin,
    /// The media type is that of a form.
    MediaType,
}

impl Refusal {
    /// Returns the HTTP status of the response.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// Returns the problem and its remedy.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::Host => {
                "The header Host must occur exactly once and name this server: localhost, 127.0.0.1, [::1], or a name in \
                 ALLOWED_HOSTS."
            }
            Self::Origin => {
                "A page of another origin sent this request. It must send the header Origin, with the server's own origin \
                 or one in ALLOWED_ORIGINS."
            }
            Self::MediaType => "The header Content-Type must be application/json.",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        problem(self.status(), self.detail())
    }
}

/// Creates a problem (RFC 9457) without a type of its own.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    Response::builder().status(status).content_type("application/problem+json").body(body.to_string())
}

/// Checks every request before it is routed.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Whether any `Host` is accepted: the server is not bound to loopback, and its names are not configured.
    any_host: bool,
    /// Whether a `Host` may be any IP address: the server is not bound to loopback. An address cannot be rebound.
    any_address: bool,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    /// Creates a guard for a server that is bound to `address`.
    #[must_use]
    pub fn new(address: SocketAddr, options: &HttpOptions) -> Self {
        let is_loopback = address.ip().to_canonical().is_loopback();
        let cleaned = |given: &[String]| -> Vec<String> {
            let given = given.iter().map(|text| text.trim().trim_end_matches('/').to_ascii_lowercase());
            given.filter(|text| !text.is_empty()).collect()
        };
        let hosts = cleaned(&options.allowed_hosts);
        Self {
            any_host: !is_loopback && hosts.is_empty(),
            any_address: !is_loopback,
            hosts,
            origins: cleaned(&options.allowed_origins),
        }
    }

    /// Checks a request.
    ///
    /// # Errors
    ///
    /// If it is refused.
    pub fn check(&self, request: &Request) -> Result<(), Refusal> {
        let headers = request.headers();
        let host = only(headers, &header::HOST);
        if !self.any_host && !host.is_some_and(|host| self.is_ours(host)) {
            return Err(Refusal::Host);
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = only(headers, &header::ORIGIN).map(str::to_ascii_lowercase);
            if !origin.is_some_and(|origin| self.is_allowed(&origin, host)) {
                return Err(Refusal::Origin);
            }
        } else if is_embedded_elsewhere(request) {
            return Err(Refusal::Origin);
        }
        let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if !is_safe && request.content_type().is_some_and(is_form) { Err(Refusal::MediaType) } else { Ok(()) }
    }

    fn is_ours(&self, host: &str) -> bool {
        let Some(name) = name(host) else { return false };
        is_loopback_name(name)
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host))
            || (self.any_address && name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok())
    }

    /// Ignores the scheme: a proxy may have ended TLS.
    fn is_allowed(&self, origin: &str, host: Option<&str>) -> bool {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let is_own = authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host));
        is_own || self.origins.iter().any(|known| known == origin)
    }
}

/// Returns whether a page of another origin makes a browser send the request, other than by a link to this server. A
/// page on another port of the same host counts as another origin, although it is of the same site.
///
/// Browsers set these headers, and no page can change them. Other clients send none.
fn is_embedded_elsewhere(request: &Request) -> bool {
    let headers = request.headers();
    if !headers.contains_key("sec-fetch-site") {
        return false;
    }
    let of = |name| only(headers, &HeaderName::from_static(name)).unwrap_or_default();
    let is_link = of("sec-fetch-mode") == "navigate"
        && of("sec-fetch-dest") == "document"
        && matches!(*request.method(), Method::GET | Method::HEAD);
    !is_link && !matches!(of("sec-fetch-site"), "same-origin" | "none")
}

/// Returns whether a `Host` names this machine, whatever the port, which may be forwarded.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    name(host).is_some_and(is_loopback_name)
}

fn is_loopback_name(name: &str) -> bool {
    matches!(name, "127.0.0.1" | "[::1]") || name.eq_ignore_ascii_case("localhost")
}

/// Returns a `Host` without its port; `None` if the port is not a number.
fn name(host: &str) -> Option<&str> {
    match host.rsplit_once(':') {
        // An IPv6 address without a port.
        Some(_) if host.ends_with(']') => Some(host),
        Some((name, port)) => port.bytes().all(|byte| byte.is_ascii_digit()).then_some(name),
        None => Some(host),
    }
}

fn is_form(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    FORMS.iter().any(|form| form.eq_ignore_ascii_case(essence))
}

/// Returns a header that occurs exactly once and is readable.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(address: &str, hosts: &[&str], origins: &[&str]) -> Guard {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let options =
            HttpOptions { allowed_hosts: owned(hosts), allowed_origins: owned(origins), ..HttpOptions::default() };
        Guard::new(address.parse().unwrap(), &options)
    }

    fn request(headers: &[(&'static str, &str)]) -> Request {
        let builder = Request::builder().method(Method::POST);
        headers.iter().fold(builder, |request, (name, value)| request.header(*name, *value)).finish()
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in ["127.0.0.1", "127.0.0.1:8900", "localhost:8900", "LOCALHOST", "[::1]:8900", "[::1]"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["", "example.org", "127.0.0.1.example.org:8900", "localhost.example.org", "::1", "localhost:x"]
        {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn a_server_on_loopback_accepts_its_own_names_only() {
        let guard = guard("127.0.0.1:8902", &["shop.example", "other.example:99"], &[]);
        for host in
            ["localhost:8902", "127.0.0.1", "[::1]:1", "shop.example", "Shop.Example:80", "other.example:99"]
        {
            assert_eq!(guard.check(&request(&[("host", host)])), Ok(()), "{host}");
        }
        for host in ["evil.example", "10.0.0.1:8902", "other.example:98", "localhost.evil.example", ""] {
            assert_eq!(guard.check(&request(&[("host", host)])), Err(Refusal::Host), "{host}");
        }
        assert_eq!(guard.check(&request(&[])), Err(Refusal::Host));
        assert_eq!(guard.check(&request(&[("host", "localhost"), ("host", "localhost")])), Err(Refusal::Host));
    }

    #[test]
    fn a_server_beyond_loopback_accepts_any_name_until_its_names_are_configured() {
        let unnamed = guard("0.0.0.0:8902", &[], &[]);
        assert_eq!(unnamed.check(&request(&[("host", "orders.shop.svc:8902")])), Ok(()));
        let named = guard("[::]:8902", &["order-service"], &[]);
        for host in ["order-service:8902", "localhost:8902", "10.1.2.3:8902", "[fd00::1]:8902", "[fd00::1]"] {
            assert_eq!(named.check(&request(&[("host", host)])), Ok(()), "{host}");
        }
        assert_eq!(named.check(&request(&[("host", "evil.example")])), Err(Refusal::Host));
    }

    #[test]
    fn only_pages_of_the_servers_own_and_of_allowed_origins_may_send_requests() {
        let guard = guard("127.0.0.1:8903", &[], &["http://127.0.0.1:8900/"]);
        let from = |origin: &str| guard.check(&request(&[("host", "localhost:8903"), ("origin", origin)]));
        for origin in ["http://localhost:8903", "https://localhost:8903", "http://127.0.0.1:8900"] {
            assert_eq!(from(origin), Ok(()), "{origin}");
        }
        for origin in
            ["http://evil.example", "null", "", "http://localhost:3000", "http://localhost:8903.evil.example"]
        {
            assert_eq!(from(origin), Err(Refusal::Origin), "{origin}");
        }
    }

    #[test]
    fn a_request_embedded_in_another_origins_page_is_refused_and_a_link_is_followed() {
        let guard = guard("127.0.0.1:8900", &[], &["http://127.0.0.1:3000"]);
        let of = |method: Method, site: &str, mode: &str, destination: &str, origin: &[&str]| {
            let builder = Request::builder().method(method).header("host", "localhost:8900");
            let builder = builder.header("sec-fetch-site", site).header("sec-fetch-mode", mode);
            let builder = builder.header("sec-fetch-dest", destination);
            guard.check(&origin.iter().fold(builder, |request, origin| request.header("origin", *origin)).finish())
        };
        for site in ["cross-site", "same-site", "", "unknown"] {
            for (mode, destination) in [
                ("no-cors", "image"),
                ("no-cors", "script"),
                ("navigate", "iframe"),
                ("navigate", "object"),
                ("", ""),
            ] {
                let checked = of(Method::GET, site, mode, destination, &[]);
                assert_eq!(checked, Err(Refusal::Origin), "{site} {mode} {destination}");
            }
            assert_eq!(of(Method::GET, site, "navigate", "document", &[]), Ok(()), "{site}");
            assert_eq!(of(Method::POST, site, "navigate", "document", &[]), Err(Refusal::Origin), "{site}");
            assert_eq!(of(Method::DELETE, site, "no-cors", "empty", &[]), Err(Refusal::Origin), "{site}");
        }
        for site in ["same-origin", "none"] {
            assert_eq!(of(Method::POST, site, "cors", "empty", &[]), Ok(()), "{site}");
        }
        // An allowed page of another site sends its origin.
        assert_eq!(of(Method::POST, "same-site", "cors", "empty", &["http://127.0.0.1:3000"]), Ok(()));
        let checked = of(Method::GET, "same-origin", "cors", "empty", &["http://evil.example"]);
        assert_eq!(checked, Err(Refusal::Origin));
    }

    #[test]
    fn the_media_types_of_forms_are_refused() {
        let guard = guard("127.0.0.1:8901", &[], &[]);
        let with = |media_type: &str| guard.check(&request(&[("host", "localhost"), ("content-type", media_type)]));
        for media_type in ["text/plain", "Text/Plain; charset=utf-8", "application/x-www-form-urlencoded"] {
            assert_eq!(with(media_type), Err(Refusal::MediaType), "{media_type}");
        }
        assert_eq!(with("multipart/form-data; boundary=x"), Err(Refusal::MediaType));
        assert_eq!(with("application/json"), Ok(()));
    }
}
