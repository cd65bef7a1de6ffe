//! A server that says 202 to everything: what the load itself costs.

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

/// The hidden subcommand.
#[derive(Debug, Clone, clap::Parser)]
pub struct TrivialServer {
    /// Where to serve.
    address: SocketAddr,
}

impl TrivialServer {
    /// Serves until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// Where the address is in use.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await.context("the trivial server")?;
        loop {
            let (stream, _) = tokio::select! {
                accepted = listener.accept() => accepted?,
                () = shutdown.cancelled() => return Ok(()),
            };
            stream.set_nodelay(true)?;
            // A client that goes away is no error.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(accept)));
        }
    }
}

async fn accept(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // Read to its end, as anybody must who answers it; one that breaks off is the client's affair.
    drop(request.into_body().collect().await);
    let mut response = Response::new(Full::new(Bytes::from_static(br#"{"status":"accepted"}"#)));
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
