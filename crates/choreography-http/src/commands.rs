//! Publishes commands: claims the idempotency key if there is one, publishes, waits for JetStream's acknowledgement.
//!
//! Every step has a time limit: a request gets its response within five seconds, and at once while the connection is
//! known to be down. JetStream may have stored a command whose acknowledgement did not arrive in time. The same request
//! has the same command id, by its content or by its key, so repeating it is safe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::connection::State;
use choreography::publisher::{Command, PublishError, Publisher};
use choreography::{Auth, Durability, Publish, clock, envelope};
use tokio::sync::watch;
use uuid::Uuid;

use crate::code::Code;
use crate::idempotency::{ClaimError, IdempotencyKey, IdempotencyKeys, Operation, derived_id, fingerprint};
use crate::parameter::TraceParent;
use crate::problem::{Problem, unavailable};
use crate::publishing::Publishing;
use crate::streams::{Known, Streams};

/// How long JetStream may take to store a command.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The bytes of a command in its stream in addition to body and subject, at most.
const OVERHEAD: usize = 700;

/// The longest `Retry-After` for a key; a longer wait needs an operator.
const MAX_KEY_WAIT: i64 = 24 * 3600;

/// The id of a command whose request has no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutKey {
    /// A new id: each request is a command of its own.
    NewId,
    /// An id derived from subject and content: the same command has the same id. If the key of the command is a UUID,
    /// the id sorts next to it, and after the ids of earlier keys.
    IdByContent,
}

/// The request of a command.
#[derive(Debug)]
pub struct Request<'a> {
    /// The operation of the request.
    pub operation: Operation<'a>,
    /// The caller's key.
    pub key: Option<&'a IdempotencyKey>,
    /// The command's id if there is no key.
    pub without_key: WithoutKey,
    /// The caller's trace context.
    pub trace_parent: Option<TraceParent>,
    /// On whose behalf the command is sent, if callers sign in.
    pub auth: Option<Auth>,
}

impl<'a> Request<'a> {
    /// Makes a request whose command is new unless its key is known, without a trace context.
    #[must_use]
    pub fn new(operation: Operation<'a>, key: Option<&'a IdempotencyKey>) -> Self {
        Self { operation, key, without_key: WithoutKey::NewId, trace_parent: None, auth: None }
    }
}

/// A command that JetStream has acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// Its id.
    pub id: Uuid,
    /// Whether the stream had a message with this id already, within its duplicate window.
    pub duplicate: bool,
}

/// Publishes commands to JetStream.
pub struct Commands {
    client: Client,
    publisher: Publisher,
    keys: IdempotencyKeys,
    streams: watch::Receiver<Known>,
    publishing: Arc<Publishing>,
}

impl Commands {
    /// Publishes as the program `name`, while `streams` reports capacity.
    ///
    /// Spawns a task, which ends with the last clone of the publisher.
    #[must_use]
    pub fn new(client: Client, name: &str, streams: &Streams) -> Self {
        let publisher = Publisher::new(streams.js.clone(), name);
        let keys = IdempotencyKeys::new(streams.js.clone(), streams.capacity.bucket);
        Self { client, publisher, keys, streams: streams.known.subscribe(), publishing: streams.publishing.clone() }
    }

    /// Returns the failures that a published command survives.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.streams.borrow().durability
    }

    /// Publishes a command and returns its id once JetStream has acknowledged it.
    ///
    /// # Errors
    ///
    /// The problem of a command that is refused or not known to be stored.
    pub async fn send(&self, command: &impl Publish, request: Request<'_>) -> Result<Stored, Problem> {
        let command = encoded(command, &request)?;
        if self.client.connection_state() != State::Connected {
            return Err(unavailable("there is no connection to nats-server"));
        }
        self.admit(&command)?;
        let published = match tokio::time::timeout(ACK_TIMEOUT, self.claim_and_publish(command, &request)).await {
            Ok(published) => published,
            Err(_) => Err(unavailable("JetStream did not acknowledge a command in time")),
        };
        match &published {
            Ok(_) => self.publishing.stored(),
            Err(problem) if problem.code() == Code::UNAVAILABLE => self.publishing.failed(Instant::now()),
            Err(_) => {}
        }
        published
    }

    /// Refuses a command while there is no capacity for the events that it causes.
    fn admit(&self, command: &Command) -> Result<(), Problem> {
        let known = self.streams.borrow();
        if let Some(refusal) = &known.at_capacity {
            return Err(Problem::new(Code::OVERLOADED).retry_after(refusal.retry_after));
        }
        // The next measurement, a second from now, includes what has been consumed meanwhile.
        let size = command.body.len() + command.subject.len() + OVERHEAD;
        if known.reserve(size as u64) { Ok(()) } else { Err(Problem::new(Code::OVERLOADED)) }
    }

    /// Refuses a key while the bucket is full, until its oldest entry expires.
    fn no_more_keys(&self) -> Problem {
        let expires = self.streams.borrow().key_expires;
        let wait = expires.map_or(1, |expires| (expires - clock::now()).whole_seconds() + 1);
        Problem::new(Code::IDEMPOTENCY_KEYS_FULL).retry_after(wait.clamp(1, MAX_KEY_WAIT).unsigned_abs())
    }

    async fn claim_and_publish(&self, mut command: Command, request: &Request<'_>) -> Result<Stored, Problem> {
        if let Some(key) = request.key {
            let claimed = self.keys.claim(request.operation, key, &command.body).await;
            command.id = claimed.map_err(|error| match error {
                ClaimError::Reused => Problem::new(Code::IDEMPOTENCY_KEY_REUSED),
                ClaimError::Full => self.no_more_keys(),
                ClaimError::Unavailable(why) => unavailable(&why),
            })?;
        }
        let (id, subject, size) = (command.id, command.subject.clone(), command.body.len());
        let published = if self.durability().fsynced {
            self.publisher.publish_in_group(command).await
        } else {
            self.publisher.publish(command).await
        };
        match published {
            Ok(published) => {
                tracing::debug!(%id, subject, published.sequence, published.duplicate, "a command is stored");
                Ok(Stored { id, duplicate: published.duplicate })
            }
            Err(PublishError::Unavailable(why)) => Err(unavailable(&why)),
            Err(PublishError::TooLarge(why)) => {
                tracing::error!(subject, size, why, "a command within the HTTP limits is too large for its stream");
                Err(Problem::new(Code::BODY_TOO_LARGE))
            }
        }
    }
}

/// Encodes a command with the id for a request without a key.
fn encoded(command: &impl Publish, request: &Request<'_>) -> Result<Command, Problem> {
    let encoded = Command::new(Uuid::now_v7(), command).map_err(|error| {
        tracing::error!(%error, message_type = command.message_type(), "a command cannot be encoded");
        Problem::new(Code::INTERNAL)
    })?;
    let id = match request.without_key {
        WithoutKey::NewId => encoded.id,
        WithoutKey::IdByContent => id_by_content(&encoded),
    };
    let trace_parent = request.trace_parent.clone().and_then(|context| context.0);
    Ok(Command { id, trace_parent, auth: request.auth.clone(), ..encoded })
}

fn id_by_content(command: &Command) -> Uuid {
    let content = ["command by content", &command.subject, &fingerprint(&command.body)];
    match Uuid::parse_str(&command.key) {
        Ok(key) => envelope::derived_id(&key, &content.join("\n")),
        Err(_) => derived_id(&content),
    }
}
