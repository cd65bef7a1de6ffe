//! The HTTP server over TLS, and the headers of its responses.

use std::net::SocketAddr;
use std::time::Duration;

use choreography::Health;
use choreography::http::builder;
use choreography::listener::{HttpOptions, Server};
use choreography::probes::with_probes;
use poem::web::Html;
use poem::{Response, Route, get, handler};
use reqwest::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use crate::certificates::{Authority, Folder, authority, issue};
use crate::support::eventually;

#[handler]
fn serve_page() -> Html<&'static str> {
    Html("<!doctype html>")
}

#[handler]
fn serve_data() -> Response {
    Response::builder().content_type("application/json; charset=utf-8").body("{}")
}

#[handler]
fn serve_own() -> Response {
    Response::builder()
        .content_type("application/json")
        .header("cache-control", "max-age=60")
        .header("content-security-policy", "default-src 'self'")
        .body("{}")
}

struct Served {
    address: SocketAddr,
    health: Health,
    shutdown: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Served {
    async fn with(options: &HttpOptions) -> anyhow::Result<Self> {
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), options, Some(health.clone())).await?;
        let address = server.address();
        let routes =
            Route::new().at("/page", get(serve_page)).at("/data", get(serve_data)).at("/own", get(serve_own));
        tokio::spawn(server.serve(with_probes(routes, health.clone()), shutdown.clone()));
        Ok(Self { address, health, shutdown })
    }

    async fn get(&self, client: &Client, path: &str) -> reqwest::Result<reqwest::Response> {
        client.get(format!("https://{}{path}", self.address)).send().await
    }
}

fn options(folder: &Folder, name: &str) -> HttpOptions {
    HttpOptions {
        tls_cert: Some(folder.path().join(format!("{name}.pem"))),
        tls_key: Some(folder.path().join(format!("{name}.key"))),
        http_read_seconds: 1,
        ..HttpOptions::default()
    }
}

/// Returns a client that trusts an authority, and opens a connection per request.
fn trusting(authority: &Authority) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(ring::default_provider().into());
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let client = builder(Duration::from_secs(10)).pool_max_idle_per_host(0).tls_backend_preconfigured(config);
    client.build().unwrap()
}

#[tokio::test]
async fn a_client_is_served_over_tls_if_it_trusts_the_servers_authority() {
    let (folder, authority) = (Folder::new("https"), authority());
    issue(&authority, &folder, "server");
    let served = Served::with(&options(&folder, "server")).await.unwrap();
    let response = served.get(&trusting(&authority), "/data").await.unwrap();
    assert_eq!(response.text().await.unwrap(), "{}");
    served.get(&trusting(&self::authority()), "/data").await.unwrap_err();
    // Nor does a client that trusts the certificates of the system.
    served.get(&builder(Duration::from_secs(10)).build().unwrap(), "/data").await.unwrap_err();
}

#[tokio::test]
async fn a_client_without_tls_gets_no_response() {
    let (folder, authority) = (Folder::new("https-plain"), authority());
    issue(&authority, &folder, "server");
    let served = Served::with(&options(&folder, "server")).await.unwrap();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /data HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
    let mut received = Vec::new();
    drop(stream.read_to_end(&mut received).await);
    assert!(!String::from_utf8_lossy(&received).contains("HTTP"), "{received:?}");
    // A client that begins no handshake is disconnected.
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(10), silent.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "the connection stays open");
}

#[tokio::test]
async fn a_replaced_certificate_is_used_without_a_restart() {
    let (folder, first, second) = (Folder::new("https-replaced"), authority(), authority());
    issue(&first, &folder, "server");
    let served = Served::with(&options(&folder, "server")).await.unwrap();
    served.get(&trusting(&first), "/data").await.unwrap();
    issue(&second, &folder, "server");
    eventually("the second certificate is used", || async {
        served.get(&trusting(&second), "/data").await.is_ok()
    })
    .await;
    served.get(&trusting(&first), "/data").await.unwrap_err();

    // An unusable one is reported, and the second stays in use.
    folder.write("server.pem", "-----BEGIN CERTIFICATE-----\n");
    eventually("the unusable certificate is reported", || async {
        served.health.problem("http-certificate").is_some_and(|problem| problem.contains("TLS_CERT"))
    })
    .await;
    served.get(&trusting(&second), "/data").await.unwrap();
    issue(&second, &folder, "server");
    eventually("the server is ready again", || async { served.health.readiness().ready }).await;
}

#[tokio::test]
async fn unusable_certificates_are_refused_at_the_start() {
    let (folder, authority) = (Folder::new("https-refused"), authority());
    issue(&authority, &folder, "server");
    let (_, other_key) = issue(&authority, &folder, "other");
    let refusal = async |options: HttpOptions| match Served::with(&options).await {
        Ok(_) => panic!("it is served"),
        Err(error) => format!("{error:#}"),
    };
    let known = || options(&folder, "server");
    let error = refusal(HttpOptions { tls_key: None, ..known() }).await;
    assert_eq!(error, "TLS_CERT is set without TLS_KEY; set both or neither");
    let error = refusal(HttpOptions { tls_cert: None, ..known() }).await;
    assert_eq!(error, "TLS_KEY is set without TLS_CERT; set both or neither");
    let error = refusal(HttpOptions { tls_key: Some(other_key), ..known() }).await;
    assert!(error.contains("is not the key of TLS_CERT"), "{error}");
    let error = refusal(HttpOptions { tls_cert: Some("missing.pem".into()), ..known() }).await;
    assert!(error.contains("TLS_CERT (missing.pem)") && error.contains("certificates in PEM"), "{error}");
}

#[tokio::test]
async fn responses_tell_browsers_to_be_strict_and_keep_their_own_headers() {
    let (folder, authority) = (Folder::new("https-headers"), authority());
    issue(&authority, &folder, "server");
    let options = HttpOptions { allowed_hosts: vec!["shop.example".to_owned()], ..options(&folder, "server") };
    let served = Served::with(&options).await.unwrap();
    let client = trusting(&authority);
    let headers = async |path: &str| served.get(&client, path).await.unwrap().headers().clone();
    let data = headers("/data").await;
    assert_eq!(data["x-content-type-options"], "nosniff");
    assert_eq!(data["referrer-policy"], "no-referrer");
    assert_eq!(data["cross-origin-resource-policy"], "same-origin");
    assert_eq!(data["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
    assert_eq!(data["cache-control"], "no-store");
    let page = headers("/page").await;
    assert!(page["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"));
    assert!(!page.contains_key("cache-control"));
    let own = headers("/own").await;
    assert_eq!(own["content-security-policy"], "default-src 'self'");
    assert_eq!(own["cache-control"], "max-age=60");
    // A refused request has them, too.
    let refused = served.client_of("elsewhere.example", &client).await;
    assert_eq!(refused.status(), 421);
    assert_eq!(refused.headers()["x-content-type-options"], "nosniff");

    // Other ports of this machine may serve plain HTTP.
    assert!(!data.contains_key("strict-transport-security"));
    let named = served.client_of("shop.example", &client).await;
    assert_eq!(named.headers()["strict-transport-security"], "max-age=31536000; includeSubDomains");
}

impl Served {
    /// Sends a request for a host name.
    async fn client_of(&self, host: &str, client: &Client) -> reqwest::Response {
        let url = format!("https://{}/data", self.address);
        client.get(url).header("host", host).send().await.unwrap()
    }
}
