//! The connection of an operator.

use std::time::Duration;

use anyhow::Context;
use async_nats::client::RequestErrorKind;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{Client, Request, jetstream};
use bytes::Bytes;
use contracts::topology::EVENTS;
use messaging::connection::{self, NatsOptions};
use messaging::dead_letter::STREAM_NAME;
use messaging::{Health, clock};

/// The user of `nats.conf` that operators connect as.
pub const OPERATOR: &str = "operator";
/// How long the server may take to answer at first.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A connection with the rights of an operator. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operator {
    client: Client,
    js: jetstream::Context,
    health: Health,
}

/// Why a service did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It does not run: nobody has the request.
    #[error("{0} does not run")]
    Absent(String),
    /// Nobody knows whether it has the request.
    #[error("{0}")]
    Silent(String),
    /// It says that the request makes no sense.
    #[error("{0}")]
    Refused(String),
}

impl Operator {
    /// Connects, and gives up where the server does not answer within 5 s.
    ///
    /// # Errors
    ///
    /// Where the server is away or refuses the user.
    pub async fn connect(options: &NatsOptions) -> anyhow::Result<Self> {
        let (client, health) = connection::establish(options, OPERATOR, CONNECT_WITHIN).await?;
        let js = connection::jetstream(&client);
        // Without the stream there is no dead letter whose age could be wrong; every other command asks for EVENTS anyway.
        if clock::synchronise(&js, STREAM_NAME).await.is_err() {
            drop(clock::synchronise(&js, EVENTS).await);
        }
        Ok(Self { js, client, health })
    }

    /// Connects as soon as the server answers; returns at once. `health` reports the connection.
    ///
    /// # Errors
    ///
    /// Where the address cannot be parsed.
    pub async fn connect_in_background(options: &NatsOptions, health: Health) -> anyhow::Result<Self> {
        let client = connection::connect(options, OPERATOR, &health).await?;
        Ok(Self { js: connection::jetstream(&client), client, health })
    }

    /// Uses a connection of somebody else's, with their rights.
    #[must_use]
    pub fn over(client: Client, js: jetstream::Context, health: Health) -> Self {
        Self { client, js, health }
    }

    /// Returns the streams.
    #[must_use]
    pub fn js(&self) -> &jetstream::Context {
        &self.js
    }

    /// Returns whether there is a connection at present.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Returns what the server has refused, which its answers do not tell; `None` where it is nothing.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.health.problem(connection::PERMISSIONS)
    }

    /// Asks a service something.
    ///
    /// # Errors
    ///
    /// [`AskError`].
    pub async fn ask(
        &self,
        service: &str,
        subject: String,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, AskError> {
        let request = Request::new().payload(body).timeout(Some(timeout));
        let answer = self.client.send_request(subject, request).await.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => AskError::Absent(service.to_owned()),
            RequestErrorKind::TimedOut => {
                AskError::Silent(format!("{service} has not answered within {} s", timeout.as_secs()))
            }
            _ => AskError::Silent(format!("{service}: {error}")),
        })?;
        let header = |name: &str| answer.headers.as_ref().and_then(|headers| headers.get(name)).map(|v| v.as_str());
        let why = header(NATS_SERVICE_ERROR).unwrap_or_default();
        match header(NATS_SERVICE_ERROR_CODE) {
            None => Ok(answer.payload),
            Some("400") => Err(AskError::Refused(format!("{service} refuses: {why}"))),
            Some(code) => Err(AskError::Silent(format!("{service} answers {code}: {why}"))),
        }
    }

    /// Publishes a message of its own and waits until the stream has it.
    ///
    /// # Errors
    ///
    /// Where the stream does not acknowledge it.
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
