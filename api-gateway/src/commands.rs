//! Publishes commands: claims the idempotency key if there is one, publishes, waits for JetStream's acknowledgement.
//!
//! Every step has a time limit: a request gets its response within five seconds, and at once while the connection is
//! known to be down. JetStream may have stored a command whose acknowledgement did not arrive in time. The same request
//! has the same command id, by its content or by its key, so repeating it is safe.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream;
use choreography::publisher::{Command, PublishError, Publisher};
use choreography::{Durability, Publish, clock, envelope};
use contracts::topology::API_GATEWAY;
use tokio::sync::watch;
use uuid::Uuid;

use crate::idempotency::{ClaimError, IdempotencyKey, IdempotencyKeys, Operation, derived_id, fingerprint};
use crate::problem::{Code, Problem};
use crate::publishing::Publishing;
use crate::streams::Known;

/// How long JetStream may take to store a command.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The bytes of a command in its stream in addition to body and subject, at most.
const OVERHEAD: usize = 700;

/// A command of any context, in its wire form.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    subject: String,
    message_type: &'static str,
    key: String,
    body: Vec<u8>,
}

impl Draft {
    /// Drafts a command.
    pub(crate) fn new(command: &impl Publish) -> Result<Self, Problem> {
        let message_type = command.message_type();
        let body = serde_json::to_vec(command).map_err(|error| {
            tracing::error!(%error, message_type, "a command cannot be written as JSON");
            Problem::new(Code::Internal)
        })?;
        Ok(Self { subject: command.subject(), message_type, key: command.key().to_owned(), body })
    }

    /// Derives an id from the command's subject and content: the same command has the same id. If the key is a UUID,
    /// the id sorts next to it, and after the ids of earlier keys.
    pub(crate) fn id_by_content(&self) -> Uuid {
        let content = ["command by content", &self.subject, &fingerprint(&self.body)];
        match Uuid::parse_str(&self.key) {
            Ok(key) => envelope::derived_id(&key, &content.join("\n")),
            Err(_) => derived_id(&content),
        }
    }
}

/// A command to publish, with the headers of its request.
pub(crate) struct Request<'a> {
    /// The operation of the request.
    pub(crate) operation: Operation<'a>,
    /// The command.
    pub(crate) draft: Draft,
    /// The caller's key.
    pub(crate) key: Option<&'a IdempotencyKey>,
    /// The command's id if there is no key.
    pub(crate) id_without_key: Uuid,
    /// The caller's trace context.
    pub(crate) trace_parent: Option<String>,
}

/// A command that JetStream has acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// Its id.
    pub(crate) id: Uuid,
    /// Whether the stream had a message with this id already, within its duplicate window.
    pub(crate) duplicate: bool,
}

/// Publishes commands to JetStream.
pub(crate) struct Commands {
    client: Client,
    publisher: Publisher,
    keys: IdempotencyKeys,
    streams: watch::Receiver<Known>,
    publishing: Arc<Publishing>,
}

impl Commands {
    pub(crate) fn new(
        client: Client,
        js: &jetstream::Context,
        streams: watch::Receiver<Known>,
        publishing: Arc<Publishing>,
    ) -> Self {
        let (publisher, keys) = (Publisher::new(js.clone(), API_GATEWAY), IdempotencyKeys::new(js.clone()));
        Self { client, publisher, keys, streams, publishing }
    }

    /// Returns the failures that a published command survives.
    pub(crate) fn durability(&self) -> Durability {
        self.streams.borrow().durability
    }

    /// Publishes a command and returns its id once JetStream has acknowledged it.
    pub(crate) async fn publish(&self, request: Request<'_>) -> Result<Stored, Problem> {
        if self.client.connection_state() != State::Connected {
            return Err(unavailable("there is no connection to nats-server"));
        }
        self.admit(&request.draft)?;
        let published = match tokio::time::timeout(ACK_TIMEOUT, self.claim_and_publish(request)).await {
            Ok(published) => published,
            Err(_) => Err(unavailable("JetStream did not acknowledge a command in time")),
        };
        match &published {
            Ok(_) => self.publishing.stored(),
            Err(problem) if problem.code() == Code::Unavailable => self.publishing.failed(Instant::now()),
            Err(_) => {}
        }
        published
    }

    /// Refuses a command while there is no capacity for the events that it causes.
    fn admit(&self, draft: &Draft) -> Result<(), Problem> {
        let known = self.streams.borrow();
        if let Some(refusal) = &known.at_capacity {
            return Err(Problem::new(Code::Overloaded).retry_after(refusal.retry_after));
        }
        // The next measurement, a second from now, includes what has been consumed meanwhile.
        let size = draft.body.len() + draft.subject.len() + OVERHEAD;
        if known.reserve(size as u64) { Ok(()) } else { Err(Problem::new(Code::Overloaded)) }
    }

    /// Refuses a key while the bucket is full, until its oldest entry expires.
    fn no_more_keys(&self) -> Problem {
        let expires = self.streams.borrow().key_expires;
        let wait = expires.map_or(1, |expires| (expires - clock::now()).whole_seconds() + 1);
        Problem::new(Code::IdempotencyKeysFull).retry_after(wait.clamp(1, MAX_KEY_WAIT).unsigned_abs())
    }

    async fn claim_and_publish(&self, request: Request<'_>) -> Result<Stored, Problem> {
        let Request { operation, draft, key, id_without_key, trace_parent } = request;
        let id = match key {
            Some(key) => {
                let claimed = self.keys.claim(operation, key, &draft.body).await;
                claimed.map_err(|error| match error {
                    ClaimError::Reused => Problem::new(Code::IdempotencyKeyReused),
                    ClaimError::Full => self.no_more_keys(),
                    ClaimError::Unavailable(why) => unavailable(&why),
                })?
            }
            None => id_without_key,
        };
        let Draft { subject, message_type, key, body } = draft;
        let command = Command { id, subject, message_type, key, body: body.into(), trace_parent };
        let (subject, size) = (command.subject.clone(), command.body.len());
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
                tracing::error!(
                    subject,
                    size,
                    why,
                    "a command within the gateway's limits is too large for its stream"
                );
                Err(Problem::new(Code::BodyTooLarge))
            }
        }
    }
}

/// The longest `Retry-After` for a key; a longer wait needs an operator.
const MAX_KEY_WAIT: i64 = 24 * 3600;

/// How often refused requests are logged: an outage refuses every request, and readiness reports the outage.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The requests that were refused since the last log line.
#[derive(Default)]
struct Refused {
    requests: u64,
    logged: Option<Instant>,
}

impl Refused {
    /// Counts a request; returns the count since the last log line if another line is due.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.requests += 1;
        if self.logged.is_some_and(|logged| now.duration_since(logged) < LOG_INTERVAL) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.requests))
    }
}

/// Logs why a request is refused, at most every 10 s, and returns the problem, which does not contain the reason.
pub(crate) fn unavailable(why: &str) -> Problem {
    static REFUSED: Mutex<Refused> = Mutex::new(Refused { requests: 0, logged: None });
    let due = REFUSED.lock().unwrap_or_else(PoisonError::into_inner).count(Instant::now());
    match due {
        Some(requests) => {
            tracing::warn!(why, requests, "requests are refused with 503 until a dependency is available again")
        }
        None => tracing::debug!(why, "a request is refused with 503"),
    }
    Problem::new(Code::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_logged_every_ten_seconds_and_not_per_request() {
        let (mut refused, start) = (Refused::default(), Instant::now());
        assert_eq!(refused.count(start), Some(1));
        for second in 1..10 {
            assert_eq!(refused.count(start + Duration::from_secs(second)), None);
        }
        assert_eq!(refused.count(start + LOG_INTERVAL), Some(10));
        assert_eq!(refused.count(start + LOG_INTERVAL), None);
    }
}
