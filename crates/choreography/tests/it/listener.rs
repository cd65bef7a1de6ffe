//! The HTTP server and clients that are slow, too many, or of foreign origins.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use choreography::Health;
use choreography::listener::{HttpOptions, Server};
use choreography::probes::with_probes;
use poem::{Body, Response, Route, get, handler, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::eventually;

/// The read and write time-outs of these tests, in seconds.
const LIMIT: u64 = 1;

#[handler]
async fn echo(body: Body) -> poem::Result<Response> {
    let body = body.into_bytes_limit(1024).await?;
    Ok(Response::builder().body(body))
}

/// An endless response, larger than any buffer.
#[handler]
fn endless() -> Response {
    let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 16 * 1024])));
    Response::builder().body(Body::from_bytes_stream(chunks))
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
    async fn with(options: HttpOptions) -> Self {
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), &options, Some(health.clone())).await.unwrap();
        let address = server.address();
        let routes = Route::new().at("/echo", post(echo).get(echo)).at("/endless", get(endless));
        tokio::spawn(server.serve(with_probes(routes, health.clone()), shutdown.clone()));
        Self { address, health, shutdown }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request on a new connection, and returns the whole response.
    async fn request(&self, head: &str) -> String {
        let mut stream = self.connect().await;
        let request = format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }
}

fn options() -> HttpOptions {
    HttpOptions { http_read_seconds: LIMIT, http_write_seconds: LIMIT, ..HttpOptions::default() }
}

/// Sends a byte every 50 ms until the server closes the connection; returns the elapsed time and the response.
async fn drip(mut stream: TcpStream) -> (Duration, String) {
    let start = Instant::now();
    let mut received = Vec::new();
    loop {
        let mut buffer = [0; 1024];
        assert!(start.elapsed() < Duration::from_secs(20), "the connection stays open");
        match tokio::time::timeout(Duration::from_millis(50), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return (start.elapsed(), String::from_utf8_lossy(&received).into_owned()),
            Ok(Ok(read)) => received.extend_from_slice(&buffer[..read]),
            // The connection may be closed by now; then the next read fails.
            Err(_) => drop(stream.write_all(b"a").await),
        }
    }
}

/// Returns the time until the server closes a connection.
async fn closed(mut stream: TcpStream) -> Duration {
    let start = Instant::now();
    drop(stream.read_to_end(&mut Vec::new()).await);
    start.elapsed()
}

#[tokio::test]
async fn a_client_that_sends_single_bytes_slowly_is_disconnected() {
    let served = Served::with(options()).await;
    let mut headers = served.connect().await;
    headers.write_all(b"GET /echo HTTP/1.1\r\nHost: localhost\r\nX: ").await.unwrap();
    let mut body = served.connect().await;
    body.write_all(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n").await.unwrap();
    let silent = served.connect().await;
    let mut idle = served.connect().await;
    idle.write_all(b"GET /liveness HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let (headers, body, silent, idle) = tokio::join!(drip(headers), drip(body), closed(silent), closed(idle));
    for took in [headers.0, body.0, silent, idle] {
        assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&took), "{took:?}");
    }
    assert!(body.1.starts_with("HTTP/1.1 4"), "{body:?}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_disconnected() {
    let served = Served::with(HttpOptions { http_max_connections: 1, ..options() }).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    // It has the only connection, until it is disconnected.
    eventually("the limit is reached", || async {
        served.request("GET /echo HTTP/1.1").await.starts_with("HTTP/1.1 503")
    })
    .await;
    eventually("another connection is accepted", || async {
        served.request("GET /echo HTTP/1.1").await.starts_with("HTTP/1.1 200")
    })
    .await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the connection stays open");
}

#[tokio::test]
async fn a_client_that_reads_is_not_disconnected() {
    let served = Served::with(options()).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let start = Instant::now();
    let mut buffer = vec![0; 1024 * 1024];
    while start.elapsed() < Duration::from_secs(3 * LIMIT) {
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn at_the_connection_limit_probes_are_served_and_other_requests_get_503() {
    let served = Served::with(HttpOptions { http_max_connections: 2, ..HttpOptions::default() }).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = served.connect().await;
        stream.write_all(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        stream.read_u8().await.unwrap();
        busy.push(stream);
    }
    let readiness = served.request("GET /readiness HTTP/1.1").await;
    assert!(readiness.starts_with("HTTP/1.1 503"), "{readiness}");
    assert!(readiness.contains("2 connections are open, the maximum"), "{readiness}");
    assert!(served.request("GET /liveness HTTP/1.1").await.starts_with("HTTP/1.1 200"));
    let refused = served.request("GET /echo HTTP/1.1").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    for part in ["application/problem+json", "retry-after: 1", "The maximum number of clients is connected"] {
        assert!(refused.contains(part), "{refused}");
    }
    drop(busy);
    eventually("the service is ready again", || async {
        served.request("GET /readiness HTTP/1.1").await.starts_with("HTTP/1.1 200")
    })
    .await;
    assert!(served.health.readiness().ready);
}

/// More than 128, the default backlog of the standard library, and less than the default limit of Linux.
const BURST: usize = 500;

#[tokio::test]
async fn a_burst_of_clients_is_connected_before_any_of_them_is_accepted() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), &HttpOptions::default(), None).await.unwrap();
    let address = server.address();
    let connecting = futures::future::join_all((0..BURST).map(|_| TcpStream::connect(address)));
    let connected = tokio::time::timeout(Duration::from_secs(20), connecting).await.expect("clients wait");
    assert!(connected.iter().all(Result::is_ok));
}

#[tokio::test]
async fn idle_connections_are_closed_for_new_ones() {
    let served = Served::with(HttpOptions { http_max_connections: 3, ..HttpOptions::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(served.connect().await);
    }
    eventually("a request is served", || async {
        served.request("GET /echo HTTP/1.1").await.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test]
async fn requests_of_foreign_origins_and_for_foreign_hosts_are_rejected() {
    let served = Served::with(HttpOptions::default()).await;
    let port = served.address.port();
    for (header, status) in [
        ("X: y".to_owned(), 200),
        ("Sec-Fetch-Site: same-origin".to_owned(), 200),
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors".to_owned(), 403),
        (format!("Origin: http://localhost:{port}"), 403),
        ("Origin: http://localhost".to_owned(), 200),
        ("Origin: http://evil.example".to_owned(), 403),
        ("Origin: null".to_owned(), 403),
        ("Content-Type: text/plain".to_owned(), 415),
        ("Content-Type: application/x-www-form-urlencoded".to_owned(), 415),
        ("Host: evil.example".to_owned(), 421),
    ] {
        let response = served.request(&format!("POST /echo HTTP/1.1\r\n{header}")).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{header}: {response}");
    }
}

#[tokio::test]
async fn a_shutdown_awaits_requests_in_progress_and_closes_idle_connections() {
    let served = Served::with(HttpOptions::default()).await;
    let mut idle = served.connect().await;
    let mut busy = served.connect().await;
    busy.write_all(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na").await.unwrap();
    served.request("GET /liveness HTTP/1.1").await;
    let start = Instant::now();
    served.shutdown.cancel();
    let mut nothing = String::new();
    idle.read_to_string(&mut nothing).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    busy.write_all(b"b").await.unwrap();
    let mut response = String::new();
    busy.read_to_string(&mut response).await.unwrap();
    assert!(response.ends_with("ab"), "{response}");
}
