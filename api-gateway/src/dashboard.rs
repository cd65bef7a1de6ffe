//! The dashboard at `/`: static files from `web/`, embedded in this program.
//!
//! A build without optimisation reads the files from the source folder, so that a reload shows a change; a release
//! embeds them. `/web/config.json` has the settings of the dashboard. In the demo they contain a token for injecting
//! faults, so the dashboard is served only to loopback host names: a foreign page whose name resolves to this machine
//! (DNS rebinding) cannot read the token.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use choreography::listener::guard::is_loopback_host;
use choreography::setting;
use poem::endpoint::make_sync;
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route, get};
use rust_embed::{EmbeddedFile, RustEmbed};
use serde_json::json;

use choreography_http::code::Code;
use choreography_http::problem::Problem;

/// The files of the dashboard.
#[derive(RustEmbed)]
#[folder = "../web"]
struct Files;

/// The demo's settings for the dashboard; only the demo sets them.
#[derive(Clone, Default, clap::Args)]
pub struct DashboardOptions {
    /// The origin of the demo's control API, such as `http://127.0.0.1:8906`.
    #[arg(long, env = "DEMO_CONTROL_URL", hide = true, hide_env_values = true, value_parser = setting::http_url(), requires = "demo_control_token")]
    pub demo_control_url: Option<String>,
    /// The token for the demo's control API.
    #[arg(long, env = "DEMO_CONTROL_TOKEN", hide = true, hide_env_values = true, value_parser = setting::secret())]
    pub demo_control_token: Option<String>,
    /// The command line that calls the `nats` program with a read-only user.
    #[arg(long, env = "DEMO_NATS_COMMAND", hide = true, hide_env_values = true, value_parser = setting::secret())]
    pub demo_nats_command: Option<String>,
}

impl std::fmt::Debug for DashboardOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DashboardOptions").field("demo_control_url", &self.demo_control_url).finish_non_exhaustive()
    }
}

/// The dashboard's settings and headers.
pub(crate) struct Dashboard {
    config: Bytes,
    headers: HeaderMap,
    only_local: bool,
}

impl Dashboard {
    /// Prepares the settings and the headers of every response.
    ///
    /// # Errors
    ///
    /// If the address of the demo's control API is not an origin: it becomes a part of the Content-Security-Policy.
    pub(crate) fn new(options: &DashboardOptions, operations: bool) -> anyhow::Result<Self> {
        let control = match (&options.demo_control_url, &options.demo_control_token) {
            (Some(url), Some(token)) => Some((origin(url)?, token)),
            _ => None,
        };
        let config = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "control": control.as_ref().map(|(url, token)| json!({ "url": url, "token": token })),
            "natsCommand": options.demo_nats_command,
            "operations": operations,
        });
        let url = control.as_ref().map(|(url, _)| url.as_str());
        Ok(Self {
            config: config.to_string().into(),
            headers: headers(url)?,
            only_local: control.is_some() || options.demo_nats_command.is_some(),
        })
    }

    /// Adds the routes of the dashboard, except `/`.
    pub(crate) fn on(self: &Arc<Self>, routes: Route) -> Route {
        let (config, files) = (self.clone(), self.clone());
        routes.at("/web/config.json", get(make_sync(move |request| config.respond(&request, Self::config)))).at(
            "/web/*path",
            get(make_sync(move |request| {
                let path = request.uri().path().trim_start_matches("/web/");
                files.respond(&request, |_| file(&request, path))
            })),
        )
    }

    /// Serves `/` before the endpoint that is nested at `/`: the router does not match a route of that path.
    pub(crate) fn before<E: Endpoint + 'static>(self: Arc<Self>, nested: E) -> impl Endpoint + 'static {
        let index = get(make_sync(move |request| self.respond(&request, |_| file(&request, "index.html"))));
        let index = Arc::new(index);
        nested.around(move |nested, request| {
            let index = index.clone();
            async move {
                match request.uri().path() {
                    "/" => index.call(request).await,
                    _ => nested.call(request).await.map(IntoResponse::into_response),
                }
            }
        })
    }

    /// Responds to a request if its host is allowed, with the headers of the dashboard.
    fn respond(&self, request: &Request, found: impl FnOnce(&Self) -> Response) -> Response {
        if self.only_local && !is_loopback_host(request.header("host").unwrap_or_default()) {
            return Problem::new(Code::MISDIRECTED_REQUEST).into_response();
        }
        let mut response = found(self);
        response.headers_mut().extend(self.headers.clone());
        response
    }

    fn config(&self) -> Response {
        Response::builder()
            .content_type("application/json")
            .header(header::CACHE_CONTROL, "no-store")
            .body(self.config.clone())
    }
}

/// Returns the headers of every response.
fn headers(control: Option<&str>) -> anyhow::Result<HeaderMap> {
    let connect = control.map_or_else(String::new, |url| format!(" {url}"));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'{connect}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy)
        .context("the address of the demo's control API is not a valid header value")?;
    Ok([
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ]
    .into_iter()
    .collect())
}

/// Returns a URL if it is an origin and nothing else.
fn origin(url: &str) -> anyhow::Result<String> {
    let parsed: Uri = url.parse().with_context(|| format!("{url:?} is not a valid URL"))?;
    let (scheme, authority) = (parsed.scheme_str(), parsed.authority());
    match (scheme, authority, parsed.path()) {
        // A `;` in it would begin another directive of the policy.
        (Some(scheme @ ("http" | "https")), Some(authority), "/")
            if authority.as_str().bytes().all(is_host_byte) =>
        {
            Ok(format!("{scheme}://{authority}"))
        }
        _ => anyhow::bail!("{url:?} is not an origin such as http://127.0.0.1:8906"),
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte)
}

/// Responds with a file, or with 304 if the browser's copy is current.
fn file(request: &Request, path: &str) -> Response {
    let Some(file) = Files::get(path) else {
        return Problem::new(Code::ROUTE_NOT_FOUND).into_response();
    };
    let tag = tag(&file);
    let response = Response::builder().header(header::ETAG, tag.as_str()).header(header::CACHE_CONTROL, "no-cache");
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    if known.flat_map(|tags| tags.split(',')).any(|known| matches_tag(known.trim(), &tag)) {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    response.content_type(media_type(&file)).body(file.data.into_owned())
}

fn tag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let half = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("\"{half}\"")
}

/// Compares weakly, as RFC 9110 requires for `If-None-Match`.
fn matches_tag(known: &str, tag: &str) -> bool {
    known == "*" || known.trim_start_matches("W/") == tag
}

fn media_type(file: &EmbeddedFile) -> String {
    let media_type = file.metadata.mimetype();
    if media_type.starts_with("text/") { format!("{media_type}; charset=utf-8") } else { media_type.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_is_an_origin_and_nothing_else() {
        assert_eq!(origin("http://127.0.0.1:8906").unwrap(), "http://127.0.0.1:8906");
        for url in ["", "127.0.0.1:8906", "http://127.0.0.1:8906/path", "file:///etc", "http://a b", "http://a;b"] {
            assert!(origin(url).is_err(), "{url}");
        }
    }
}
