//! Publishing commands: claim the idempotency key where there is one, publish, wait for JetStream's acknowledgement.
//!
//! Everything here has a bound: a request is answered within five seconds, and at once while the connection is known
//! to be down. A command that was not acknowledged in time may have been stored all the same; the same request again
//! has the same id, by its content or by its key, and is safe.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream;
use contracts::account::AccountCommand;
use contracts::inventory::InventoryCommand;
use contracts::order::OrderCommand;
use contracts::topology::API_GATEWAY;
use messaging::publisher::{Command, PublishError, Publisher};
use messaging::{Durability, clock, envelope};
use serde::Serialize;
use tokio::sync::watch;
use uuid::Uuid;

use crate::idempotency::{ClaimError, IdempotencyKey, IdempotencyKeys, Operation, derived_id, fingerprint};
use crate::problem::{Code, Problem};
use crate::streams::Known;

/// The longest a command may take to be stored.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a command in its stream beside body and subject, at most.
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
    /// Drafts a command of the order context.
    pub(crate) fn order(command: &OrderCommand) -> Result<Self, Problem> {
        Self::new(command.subject(), command.message_type(), command.key(), command)
    }

    /// Drafts a command of the inventory context.
    pub(crate) fn inventory(command: &InventoryCommand) -> Result<Self, Problem> {
        Self::new(command.subject(), command.message_type(), command.key(), command)
    }

    /// Drafts a command of the account context.
    pub(crate) fn account(command: &AccountCommand) -> Result<Self, Problem> {
        Self::new(command.subject(), command.message_type(), command.key(), command)
    }

    fn new(
        subject: String,
        message_type: &'static str,
        key: &str,
        command: &impl Serialize,
    ) -> Result<Self, Problem> {
        let body = serde_json::to_vec(command).map_err(|error| {
            tracing::error!(%error, message_type, "a command cannot be written as JSON");
            Problem::new(Code::Internal)
        })?;
        Ok(Self { subject, message_type, key: key.to_owned(), body })
    }

    /// Derives an id from what the command is about and what it says: the same command again has the same id. Where the key
    /// is a UUID the id stands beside it, and behind the ids of earlier keys.
    pub(crate) fn id_by_content(&self) -> Uuid {
        let content = ["command by content", &self.subject, &fingerprint(&self.body)];
        match Uuid::parse_str(&self.key) {
            Ok(key) => envelope::derived_id(&key, &content.join("\n")),
            Err(_) => derived_id(&content),
        }
    }
}

/// A command on its way, with what the request said about it.
pub(crate) struct Request<'a> {
    /// What was asked for.
    pub(crate) operation: Operation<'a>,
    /// The command.
    pub(crate) draft: Draft,
    /// The caller's key.
    pub(crate) key: Option<&'a IdempotencyKey>,
    /// The command's id where there is no key.
    pub(crate) id_without_key: Uuid,
    /// The caller's trace context.
    pub(crate) trace_parent: Option<String>,
}

/// A command that JetStream has acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// Its id.
    pub(crate) id: Uuid,
    /// Whether the stream had it already, by its id, within its duplicate window.
    pub(crate) duplicate: bool,
}

/// Publishes commands.
pub(crate) struct Commands {
    client: Client,
    publisher: Publisher,
    keys: IdempotencyKeys,
    streams: watch::Receiver<Known>,
}

impl Commands {
    pub(crate) fn new(client: Client, js: &jetstream::Context, streams: watch::Receiver<Known>) -> Self {
        let (publisher, keys) = (Publisher::new(js.clone(), API_GATEWAY), IdempotencyKeys::new(js.clone()));
        Self { client, publisher, keys, streams }
    }

    /// Returns what it is worth that a command was published.
    pub(crate) fn durability(&self) -> Durability {
        self.streams.borrow().durability
    }

    /// Publishes a command and returns where it is once JetStream has acknowledged it.
    pub(crate) async fn publish(&self, request: Request<'_>) -> Result<Stored, Problem> {
        if self.client.connection_state() != State::Connected {
            return Err(unavailable("there is no connection to nats-server"));
        }
        self.admit(&request.draft)?;
        match tokio::time::timeout(ACK_TIMEOUT, self.claim_and_publish(request)).await {
            Ok(published) => published,
            Err(_) => Err(unavailable("JetStream did not acknowledge a command in time")),
        }
    }

    /// Refuses a command while there is no capacity for what it leads to.
    fn admit(&self, draft: &Draft) -> Result<(), Problem> {
        let known = self.streams.borrow();
        if let Some(refusal) = &known.at_capacity {
            return Err(Problem::new(Code::Overloaded).retry_after(refusal.retry_after));
        }
        // The next look, a second from now, knows what has been consumed meanwhile.
        let size = draft.body.len() + draft.subject.len() + OVERHEAD;
        if known.reserve(size as u64) { Ok(()) } else { Err(Problem::new(Code::Overloaded)) }
    }

    /// Refuses a key while the bucket is full: its oldest entry makes room when it expires.
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

/// The longest `Retry-After` for a key; after that an operator has to act.
const MAX_KEY_WAIT: i64 = 24 * 3600;

/// How often refused requests are logged: an outage refuses each request, and readiness names the outage.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Requests that were refused since the last line about them.
#[derive(Default)]
struct Refused {
    requests: u64,
    logged: Option<Instant>,
}

impl Refused {
    /// Counts one; returns how many there were since the last line if another one is due.
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
            tracing::warn!(why, requests, "requests are refused with 503 until a dependency answers again")
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
