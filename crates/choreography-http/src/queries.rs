//! Relays queries: request-reply over NATS; the reply's JSON is passed on unchanged.

use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use bytes::Bytes;
use choreography::query::{AskError, ask};
use choreography::time_travel::Point;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::code::Code;
use crate::problem::{Problem, internal, unavailable};

/// How long a service may take to reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends queries to services.
#[derive(Debug, Clone)]
pub struct Queries {
    client: Client,
}

impl Queries {
    /// Sends queries over a connection.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Queries one item; `missing` is the problem code if it does not exist.
    ///
    /// # Errors
    ///
    /// The problem of a query without a result.
    pub async fn get(&self, subject: String, missing: Code) -> Result<Bytes, Problem> {
        self.request(subject, Bytes::new(), |_| Problem::new(missing)).await
    }

    /// Queries one item as it was at a point of its history; `missing` is the problem code if it did not exist then.
    ///
    /// # Errors
    ///
    /// The problem of a query without a result; the service's text says what did not exist.
    pub async fn get_past(&self, subject: String, point: Point, missing: Code) -> Result<Bytes, Problem> {
        self.request(subject, written(&point)?, |why| Problem::with_detail(missing, why)).await
    }

    /// Queries a page of a list.
    ///
    /// # Errors
    ///
    /// The problem of a query without a result.
    pub async fn list(&self, subject: &str, query: &impl Serialize) -> Result<Bytes, Problem> {
        self.request(subject.to_owned(), written(query)?, |_| Problem::new(Code::ROUTE_NOT_FOUND)).await
    }

    async fn request(
        &self,
        subject: String,
        body: Bytes,
        missing: impl FnOnce(String) -> Problem,
    ) -> Result<Bytes, Problem> {
        if self.client.connection_state() != State::Connected {
            return Err(unavailable("there is no connection to nats-server"));
        }
        ask(&self.client, subject.clone(), body, REPLY_TIMEOUT).await.map_err(|error| match error {
            AskError::NotFound(why) => missing(why),
            // The service's error text about an invalid query is for the client.
            AskError::Invalid(why) => Problem::with_detail(Code::INVALID_PARAMETER, why),
            error => unavailable(&format!("{subject}: {error}")),
        })
    }
}

fn written(query: &impl Serialize) -> Result<Bytes, Problem> {
    let body = serde_json::to_vec(query).map_err(|error| internal(&error, "a query cannot be written as JSON"))?;
    Ok(body.into())
}

/// Decodes the reply to a query.
///
/// # Errors
///
/// The problem of a reply that does not have the expected content.
pub fn decode<T: DeserializeOwned>(reply: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(reply).map_err(|error| internal(&error, "a reply cannot be decoded"))
}
