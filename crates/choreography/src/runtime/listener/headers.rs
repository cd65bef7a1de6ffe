//! Headers of every response that tell browsers to be strict.
//!
//! A response keeps a header of its own. A page needs a Content-Security-Policy of its own: the one here only keeps it out
//! of the frames of other pages.

use poem::Response;
use poem::http::{HeaderName, HeaderValue, header};

/// No response but a page loads anything.
const DATA_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// The policy of a page without one.
const PAGE_POLICY: HeaderValue =
    HeaderValue::from_static("base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'");
/// How long a browser uses https only, for subdomains, too: a year.
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Adds the headers that a response does not have.
///
/// `strict_transport`: the response goes over TLS, to a host name other than this machine's, whose other ports may serve
/// plain HTTP.
pub(super) fn add(response: &mut Response, strict_transport: bool) {
    if response.status().is_informational() {
        return;
    }
    let media_type = response.content_type().unwrap_or_default().to_owned();
    let policy = if media_type.starts_with("text/html") { PAGE_POLICY } else { DATA_POLICY };
    let headers = response.headers_mut();
    let mut add = |name: HeaderName, value: HeaderValue| {
        headers.entry(name).or_insert(value);
    };
    add(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    add(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    add(header::CONTENT_SECURITY_POLICY, policy);
    add(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    if media_type.starts_with("application/json") || media_type.starts_with("application/problem+json") {
        add(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if strict_transport {
        add(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT);
    }
}
