//! The server: accepts, guards, and serves requests, and shuts down within a time limit.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::endpoint::BoxEndpoint;
use poem::http::uri::Scheme;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Body, Endpoint, EndpointExt, IntoResponse, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::{Accepted, Acceptor, Cause};
use super::guard::{Guard, is_loopback_host, problem};
use super::headers;
use super::options::HttpOptions;
use super::places::{COUNTED, Places};
use super::stream::{Connection, Stream};
use super::tls::Tls;
use crate::telemetry::health::Health;

/// The time limit for requests in progress at shutdown.
const DRAIN: Duration = Duration::from_secs(5);
/// The time limit for the headers on a reserve connection.
const RESERVE_READ: Duration = Duration::from_secs(1);
/// The time limit for a client's first headers while other clients wait for a place.
const CROWDED_READ: Duration = Duration::from_secs(1);
/// The maximum number of bytes buffered per connection and direction; headers must fit into it.
const BUFFER: usize = 64 * 1024;
/// The number of connections that the operating system queues until they are accepted, at most `net.core.somaxconn`.
/// Connections beyond it wait for the clients' next attempt, a second or more later.
const BACKLOG: u32 = 1024;
/// The paths that the reserve serves while the maximum number of connections is open.
const PROBES: [&str; 3] = ["/liveness", "/readiness", "/metrics"];

/// An HTTP server that is bound to its address and does not serve yet.
pub struct Server {
    acceptor: Acceptor,
    address: SocketAddr,
    options: HttpOptions,
    guard: Option<Guard>,
    tls: Option<Tls>,
    health: Option<Health>,
}

impl Server {
    /// Binds to an address; reports in `health` as `http` whether connections are accepted.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound; the error has the address and the cause. Also if the certificate or its key is not
    /// usable.
    pub async fn bind(address: SocketAddr, options: &HttpOptions, health: Option<Health>) -> anyhow::Result<Self> {
        let tls = Tls::configured(options)?;
        let listener = listen(address)
            .with_context(|| format!("listening on {address}; is another program using that port?"))?;
        let bound = listener.local_addr().with_context(|| format!("listening on {address}"))?;
        Ok(Self {
            acceptor: Acceptor::new(listener, health.clone()),
            address: bound,
            options: options.clone(),
            guard: Some(Guard::new(bound, options)),
            tls,
            health,
        })
    }

    /// Leaves the checks of `Host` and `Origin` to the endpoint, which has its own responses for them.
    #[must_use]
    pub fn without_guard(self) -> Self {
        Self { guard: None, ..self }
    }

    /// Returns the address it is bound to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves an endpoint until shutdown, and then requests in progress for at most 5 s.
    pub async fn serve<E>(mut self, endpoint: E, shutdown: CancellationToken)
    where
        E: Endpoint + 'static,
    {
        tracing::info!(address = %self.address, tls = self.tls.is_some(), "serving HTTP");
        if let Some(tls) = self.tls.clone() {
            let (following, until) = (tls.follow(self.health.clone()), shutdown.clone());
            tokio::spawn(async move { until.run_until_cancelled(following).await });
        }
        let endpoint: Arc<BoxEndpoint<'static>> = Arc::new(endpoint.map_to_response().boxed());
        let places = Places::new(self.options.connections());
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = async {
                    places.wait().await;
                    self.acceptor.accept().await
                } => accepted,
            };
            if let Some(client) = self.seat(accepted, &places, &endpoint) {
                connections.spawn(client.serve(shutdown.clone()));
            }
        }
        drop(self.acceptor);
        connections.close();
        if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "the shutdown interrupted requests in progress");
        }
    }

    /// Assigns a place to a connection; without a free place the connection is closed.
    fn seat(
        &mut self,
        accepted: Accepted,
        places: &Places,
        endpoint: &Arc<BoxEndpoint<'static>>,
    ) -> Option<Client> {
        let Accepted { stream, client, is_last } = accepted;
        let place = places.take(is_last)?;
        let condition = self.acceptor.condition();
        if place.is_reserve && !is_last {
            let detail = format!("{} connections are open, the maximum", places.limit());
            condition.set(Cause::Full, &detail);
        } else if places.has_capacity() {
            condition.clear(Cause::Full);
        }
        // Without it, small responses wait for the client's acknowledgement of earlier ones.
        stream.set_nodelay(true).unwrap_or_default();
        let connection = Connection::default();
        let is_reserve = place.is_reserve;
        let read_limit = self.options.read_limit();
        Some(Client {
            pressure: condition.pressure(),
            tls: self.tls.as_ref().map(Tls::acceptor),
            stream: Stream::new(stream, connection.clone(), self.options.write_limit(), place),
            context: Arc::new(RequestContext {
                endpoint: endpoint.clone(),
                guard: self.guard.clone(),
                connection,
                local: self.address,
                remote: client,
                read_limit: if is_reserve { read_limit.min(RESERVE_READ) } else { read_limit },
                is_reserve,
                is_encrypted: self.tls.is_some(),
            }),
        })
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of an earlier process may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connected client.
struct Client {
    stream: Stream,
    tls: Option<TlsAcceptor>,
    pressure: Arc<Notify>,
    context: Arc<RequestContext>,
}

impl Client {
    /// Agrees on TLS if the server requires it, and serves one request after the other.
    async fn serve(self, shutdown: CancellationToken) {
        let Self { stream, tls, pressure, context } = self;
        let since = Instant::now();
        let Some(tls) = tls else { return serve(stream, since, &pressure, context, shutdown).await };
        let handshake = tokio::time::timeout(context.read_limit, tls.accept(stream));
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            () = shutdown.cancelled() => return,
            () = crowded(&pressure, since) => return,
        };
        match accepted {
            Ok(Ok(stream)) => serve(stream, since, &pressure, context, shutdown).await,
            Ok(Err(_)) | Err(_) => {
                COUNTED.failed_handshakes.inc();
            }
        }
    }
}

/// Waits until other clients have waited for a place long enough that this one must have sent a request.
async fn crowded(pressure: &Notify, since: Instant) {
    pressure.notified().await;
    tokio::time::sleep_until(since + CROWDED_READ).await;
}

/// Serves the requests of a connection.
async fn serve<S>(
    stream: S,
    since: Instant,
    pressure: &Notify,
    context: Arc<RequestContext>,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (read_limit, is_reserve) = (context.read_limit, context.is_reserve);
    let has_request = Arc::new(AtomicBool::new(false));
    let received = has_request.clone();
    let service = hyper::service::service_fn(move |request| {
        received.store(true, Ordering::Relaxed);
        let context = context.clone();
        async move { Ok::<_, Infallible>(hyper::Response::from(context.respond(request).await)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(read_limit)
        .max_buf_size(BUFFER)
        .keep_alive(!is_reserve)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // Clients may disconnect at any time; an error affects only this connection.
    tokio::select! {
        ended = connection.as_mut() => return ended.unwrap_or_default(),
        () = shutdown.cancelled() => {}
        () = crowded(pressure, since) => if !has_request.load(Ordering::Relaxed) { return },
    }
    // An idle connection ends immediately, a busy one after its response.
    connection.as_mut().graceful_shutdown();
    let too_late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = connection => ended.unwrap_or_default(),
        () = too_late => {}
    }
}

/// What the requests of one connection share.
struct RequestContext {
    endpoint: Arc<BoxEndpoint<'static>>,
    guard: Option<Guard>,
    connection: Connection,
    local: SocketAddr,
    remote: SocketAddr,
    read_limit: Duration,
    is_reserve: bool,
    is_encrypted: bool,
}

impl RequestContext {
    async fn respond(&self, request: hyper::Request<Incoming>) -> Response {
        let is_strict = self.is_encrypted && !is_of_this_machine(&request);
        let mut response = self.response(request).await;
        headers::add(&mut response, is_strict);
        response
    }

    async fn response(&self, request: hyper::Request<Incoming>) -> Response {
        let has_body = !hyper::body::Body::is_end_stream(request.body());
        let addresses = (LocalAddr(Addr::from(self.local)), RemoteAddr(Addr::from(self.remote)));
        let scheme = if self.is_encrypted { Scheme::HTTPS } else { Scheme::HTTP };
        let mut request = Request::from((request, addresses.0, addresses.1, scheme));
        if let Some(guard) = &self.guard
            && let Err(refusal) = guard.check(&request)
        {
            return refusal.into_response();
        }
        if self.is_reserve && !PROBES.contains(&request.uri().path()) {
            return full();
        }
        if has_body {
            let body = request.take_body();
            request.set_body(in_time(body, Instant::now() + self.read_limit));
        }
        request.extensions_mut().insert(self.connection.clone());
        self.endpoint.get_response(request).await
    }
}

/// Returns whether a request names this machine, or no host at all.
fn is_of_this_machine(request: &hyper::Request<Incoming>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    host.is_none_or(is_loopback_host)
}

/// Refuses a request because the maximum number of connections is open.
fn full() -> Response {
    COUNTED.refused.inc();
    let mut response =
        problem(StatusCode::SERVICE_UNAVAILABLE, "The maximum number of clients is connected; try again later.");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Returns a body that fails if it has not ended by the deadline.
fn in_time(body: Body, deadline: Instant) -> Body {
    let chunks = body.into_bytes_stream();
    Body::from_bytes_stream(futures::stream::unfold(Some(Box::pin(chunks)), move |chunks| async move {
        let mut chunks = chunks?;
        match tokio::time::timeout_at(deadline, chunks.next()).await {
            Ok(chunk) => chunk.map(|chunk| (chunk, Some(chunks))),
            Err(_) => Some((Err(std::io::ErrorKind::TimedOut.into()), None)),
        }
    }))
}
