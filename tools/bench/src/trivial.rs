//! A server that responds to every request with 202: it measures the cost of the load itself.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The hidden subcommand `trivial-server`.
#[derive(Debug, Clone, clap::Parser)]
pub struct TrivialServer {
    /// The address to listen on.
    address: SocketAddr,
}

impl TrivialServer {
    /// Serves until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// If the address is in use.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await.context("starting the trivial server")?;
        loop {
            let (stream, _) = tokio::select! {
                accepted = listener.accept() => accepted?,
                () = shutdown.cancelled() => return Ok(()),
            };
            stream.set_nodelay(true)?;
            // A client that disconnects is not an error.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(accept)));
        }
    }
}

async fn accept(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // The body must be read before the response; an incomplete one is not an error here.
    drop(request.into_body().collect().await);
    let mut response = Response::new(Full::new(Bytes::from_static(br#"{"status":"accepted"}"#)));
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
