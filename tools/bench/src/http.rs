//! A cheap HTTP client for the gateway: persistent connections with one request at a time each.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long a response may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the gateway.
pub struct Connection {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects to `http://<authority>`.
    ///
    /// # Errors
    ///
    /// If the connection is refused.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let authority = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&authority).await.with_context(|| format!("connecting to {url}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // An error of the connection is reported by the next request on it.
        tokio::spawn(connection);
        Ok(Self { authority, sender })
    }

    /// Places an order and waits until it is accepted.
    ///
    /// # Errors
    ///
    /// If the response is not 202, or does not arrive within 30 s.
    pub async fn place(&mut self, body: Bytes) -> anyhow::Result<()> {
        match self.try_place(body).await? {
            None => Ok(()),
            Some(_) => bail!("the response to an order is {}", StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// Places an order. If it is refused with 503, returns the delay after which to send it again.
    ///
    /// # Errors
    ///
    /// If the response is neither 202 nor 503, or does not arrive within 30 s.
    pub async fn try_place(&mut self, body: Bytes) -> anyhow::Result<Option<Duration>> {
        tokio::time::timeout(TIMEOUT, self.send(body)).await.context("an order got no response in time")?
    }

    async fn send(&mut self, body: Bytes) -> anyhow::Result<Option<Duration>> {
        // The gateway closes a connection that is idle for long, as during an outage.
        if self.sender.ready().await.is_err() {
            *self = Self::open(&self.authority).await?;
            self.sender.ready().await.context("a new connection was closed at once")?;
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri("/orders")
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.into_body().collect().await?.to_bytes();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(Some(Duration::from_secs(retry_after.unwrap_or(1))));
        }
        if status != StatusCode::ACCEPTED {
            bail!("the response to an order is {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(None)
    }
}
