//! The connection of an operator.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_nats::{Client, jetstream};
use bytes::Bytes;
use choreography::connection::{self, NatsOptions};
use choreography::dead_letter::STREAM_NAME;
use choreography::{Health, clock, query};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{OperationError, System};

/// The user of `nats.conf` that operators connect as.
pub const OPERATOR: &str = "operator";
/// The time limit for the first connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a system with the permissions of an operator. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operator {
    system: Arc<System>,
    client: Client,
    js: jetstream::Context,
    health: Health,
}

/// Why a service did not reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The service does not run: no process received the request.
    #[error("{0} does not run")]
    Absent(String),
    /// Whether the service received the request is unknown, or its reply cannot be read.
    #[error("{0}")]
    Silent(String),
    /// The service refused the request as invalid.
    #[error("{0}")]
    Refused(String),
}

impl Operator {
    /// Connects; fails if the server does not reply within 5 s.
    ///
    /// # Errors
    ///
    /// [`OperationError::Unavailable`] if the server does not reply or refuses the user.
    pub async fn connect(options: &NatsOptions, system: System) -> Result<Self, OperationError> {
        let (client, health) = connection::establish(options, OPERATOR, CONNECT_TIMEOUT).await?;
        let js = connection::jetstream(&client);
        // Any stream has the server's time. If none can be read, the local time is good enough to say so.
        let names = system.topology.streams.iter().map(|stream| stream.name.as_str());
        for name in [STREAM_NAME].into_iter().chain(names.take(1)) {
            if clock::synchronise(&js, name).await.is_ok() {
                break;
            }
        }
        Ok(Self::over(client, js, health, system))
    }

    /// Connects as soon as the server replies; returns at once. `health` reports the connection.
    ///
    /// # Errors
    ///
    /// [`OperationError::Unavailable`] if the address cannot be parsed.
    pub async fn connect_in_background(
        options: &NatsOptions,
        health: Health,
        system: System,
    ) -> Result<Self, OperationError> {
        let client = connection::connect(options, OPERATOR, &health).await?;
        let js = connection::jetstream(&client);
        Ok(Self::over(client, js, health, system))
    }

    /// Wraps an existing connection, with the permissions of its user.
    #[must_use]
    pub fn over(client: Client, js: jetstream::Context, health: Health, system: System) -> Self {
        Self { system: Arc::new(system), client, js, health }
    }

    /// Returns the declarations of the system.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Returns the JetStream context.
    #[must_use]
    pub fn js(&self) -> &jetstream::Context {
        &self.js
    }

    /// Returns whether the connection is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Returns the last permission that the server refused, which its replies do not contain; `None` if there is
    /// none.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.health.problem(connection::PERMISSIONS)
    }

    /// Sends a request to a service and returns the reply. Both are JSON.
    ///
    /// # Errors
    ///
    /// [`AskError`].
    pub async fn ask<T: DeserializeOwned>(
        &self,
        service: &str,
        subject: String,
        request: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, AskError> {
        let body = serde_json::to_vec(request).map_err(|error| AskError::Refused(error.to_string()))?;
        let reply = query::ask(&self.client, subject, body.into(), timeout).await.map_err(|error| match error {
            query::AskError::NoResponders => AskError::Absent(service.to_owned()),
            query::AskError::TimedOut(limit) => {
                AskError::Silent(format!("{service} did not reply within {} s", limit.as_secs()))
            }
            query::AskError::Invalid(why) => AskError::Refused(format!("{service} refuses: {why}")),
            query::AskError::NotFound(why) => AskError::Silent(format!("{service} returned error 404: {why}")),
            query::AskError::Failed { code, why } => {
                AskError::Silent(format!("{service} returned error {code}: {why}"))
            }
            error => AskError::Silent(format!("{service}: {error}")),
        })?;
        serde_json::from_slice(&reply)
            .map_err(|error| AskError::Silent(format!("the reply of {service} cannot be read: {error}")))
    }

    /// Publishes a message and waits until the stream acknowledges it.
    ///
    /// # Errors
    ///
    /// If the stream does not acknowledge it.
    pub(crate) async fn publish(
        &self,
        subject: String,
        headers: async_nats::HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<()> {
        let publishing = || format!("publishing {subject}");
        let acknowledgement =
            self.js.publish_with_headers(subject.clone(), headers, body).await.with_context(publishing)?;
        acknowledgement.await.with_context(publishing)?;
        Ok(())
    }
}
