//! Relays queries: request-reply over NATS; the reply's JSON is passed on unchanged.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{Client, Request};
use bytes::Bytes;
use serde::Serialize;

use crate::commands::unavailable;
use crate::problem::{Code, Problem};

/// How long a service may take to reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends queries to services.
#[derive(Clone)]
pub(crate) struct Queries {
    client: Client,
}

impl Queries {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Queries one item; `missing` is the problem code if it does not exist.
    pub(crate) async fn get(&self, subject: String, missing: Code) -> Result<Bytes, Problem> {
        self.request(subject, Bytes::new(), missing).await
    }

    /// Queries a page of a list.
    pub(crate) async fn list(&self, subject: &str, query: &impl Serialize) -> Result<Bytes, Problem> {
        let body = serde_json::to_vec(query).map_err(|error| {
            tracing::error!(%error, subject, "a query cannot be written as JSON");
            Problem::new(Code::Internal)
        })?;
        self.request(subject.to_owned(), body.into(), Code::RouteNotFound).await
    }

    async fn request(&self, subject: String, body: Bytes, missing: Code) -> Result<Bytes, Problem> {
        if self.client.connection_state() != State::Connected {
            return Err(unavailable("there is no connection to nats-server"));
        }
        let request = Request::new().payload(body).timeout(Some(REPLY_TIMEOUT));
        let reply = self.client.send_request(subject.clone(), request).await;
        let reply = reply.map_err(|error| unavailable(&format!("{subject}: {error}")))?;
        let header = |name: &str| reply.headers.as_ref().and_then(|headers| headers.get(name)).map(|v| v.as_str());
        let why = header(NATS_SERVICE_ERROR).unwrap_or_default();
        match header(NATS_SERVICE_ERROR_CODE) {
            None => Ok(reply.payload),
            Some("404") => Err(Problem::new(missing)),
            // The service's error text about an invalid query is for the client.
            Some("400") => Err(Problem::with_detail(Code::InvalidParameter, why)),
            Some(code) => Err(unavailable(&format!("{subject}: {code} {why}"))),
        }
    }
}
