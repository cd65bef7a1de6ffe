//! The outcome of a command to an account: the event that it caused, received live or read from the stream.
//!
//! The subscription begins before the command is published. It can still miss the event: a reconnect has gaps, and a
//! request with a reused key was processed long ago. The gateway then finds the event in the stream of events, by its
//! causation id. Only the creation of an existing account causes no event; then the account itself is compared.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, StatusCode, Subscriber};
use choreography::Messages as _;
use choreography::envelope;
use contracts::CustomerId;
use contracts::account::{AccountDetails, AccountEvent};
use contracts::query::AccountView;
use contracts::topology::EVENTS;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::problem::Code;
use crate::queries::Queries;

/// How many requests may wait at the same time; further ones get their response at once.
const MAX_WAITERS: usize = 1024;
/// When the stream is first searched, if no event has arrived by then.
const FIRST_POLL_DELAY: Duration = Duration::from_millis(100);
/// How often the stream is searched afterwards.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How many events of an account one search reads at most.
const MAX_EVENTS: usize = 256;
/// How far our clock may be ahead of the broker's.
const SKEW: Duration = Duration::from_secs(10 * 60);
/// How long the broker may take to find an event.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// How waiting ended.
pub(crate) enum Outcome {
    /// The account service has replied with this event.
    Replied(AccountEvent),
    /// The account to be created exists already.
    Present(AccountView),
    /// The time is over, or the gateway shuts down.
    NotYet,
}

/// Waits for the outcomes of commands to accounts.
#[derive(Clone)]
pub(crate) struct Outcomes {
    client: Client,
    queries: Queries,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// A request that is subscribed to the events of its account.
pub(crate) struct Waiter {
    outcomes: Outcomes,
    customer_id: CustomerId,
    events: Subscriber,
    _permit: OwnedSemaphorePermit,
}

impl Outcomes {
    pub(crate) fn new(client: Client, queries: Queries, shutdown: CancellationToken) -> Self {
        Self { client, queries, permits: Arc::new(Semaphore::new(MAX_WAITERS)), shutdown }
    }

    /// Subscribes to the events of an account; `None` if too many requests wait already. Call it before publishing the
    /// command.
    pub(crate) async fn subscribe(&self, customer_id: &CustomerId) -> Option<Waiter> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        let subscribed = self.client.subscribe(subjects(customer_id)).await;
        let events = subscribed
            .inspect_err(|error| tracing::warn!(%error, "a subscription to an account's events failed"))
            .ok()?;
        Some(Waiter { outcomes: self.clone(), customer_id: customer_id.clone(), events, _permit: permit })
    }
}

fn subjects(customer_id: &CustomerId) -> String {
    format!("account.event.*.{customer_id}")
}

impl Waiter {
    /// Waits for the event that a command causes, at most `wait`. `created` is the content that a creation asks for.
    pub(crate) async fn outcome(
        mut self,
        command: Uuid,
        created: Option<&AccountDetails>,
        wait: Duration,
    ) -> Outcome {
        let deadline = Instant::now() + wait;
        let mut next_poll = Instant::now() + FIRST_POLL_DELAY;
        loop {
            tokio::select! {
                message = self.events.next() => match message {
                    Some(message) => if let Some(event) = caused_by(command, &message) {
                        return Outcome::Replied(event);
                    },
                    None => return Outcome::NotYet,
                },
                () = tokio::time::sleep_until(next_poll.min(deadline)) => {
                    match tokio::time::timeout_at(deadline, self.poll(command, created)).await {
                        Ok(Some(outcome)) => return outcome,
                        Ok(None) => next_poll = Instant::now() + RETRY_INTERVAL,
                        Err(_) => return Outcome::NotYet,
                    }
                }
                () = self.outcomes.shutdown.cancelled() => return Outcome::NotYet,
            }
            if Instant::now() >= deadline {
                return Outcome::NotYet;
            }
        }
    }

    async fn poll(&self, command: Uuid, created: Option<&AccountDetails>) -> Option<Outcome> {
        if let Some(event) = self.find_event(command).await {
            return Some(Outcome::Replied(event));
        }
        let created = created?;
        let subject = format!("account.query.get.{}", self.customer_id);
        let json = self.outcomes.queries.get(subject, Code::AccountNotFound).await.ok()?;
        let view: AccountView = serde_json::from_slice(&json)
            .inspect_err(|error| tracing::error!(%error, "an account cannot be read"))
            .ok()?;
        (view.details == *created).then_some(Outcome::Present(view))
    }

    /// Searches the account's events since the command was made.
    async fn find_event(&self, command: Uuid) -> Option<AccountEvent> {
        let mut from = json!({ "start_time": envelope::rfc3339(made_at(command)? - SKEW) });
        for _ in 0..MAX_EVENTS {
            from["next_by_subj"] = json!(subjects(&self.customer_id));
            let message = self.next_event(&from).await?;
            if let Some(event) = caused_by(command, &message) {
                return Some(event);
            }
            let sequence: u64 = header(&message, "Nats-Sequence")?.parse().ok()?;
            from = json!({ "seq": sequence + 1 });
        }
        None
    }

    async fn next_event(&self, from: &Value) -> Option<Message> {
        let request = Request::new().payload(from.to_string().into()).timeout(Some(REPLY_TIMEOUT));
        let found = self.outcomes.client.send_request(format!("$JS.API.DIRECT.GET.{EVENTS}"), request).await;
        let message = found.inspect_err(|error| tracing::warn!(%error, "events cannot be searched")).ok()?;
        match message.status {
            None | Some(StatusCode::OK) => Some(message),
            Some(_) => None,
        }
    }
}

/// Returns when a command was made, from its time-ordered id.
fn made_at(command: Uuid) -> Option<time::OffsetDateTime> {
    let (seconds, _) = command.get_timestamp()?.to_unix();
    time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref().and_then(|headers: &HeaderMap| headers.get(name)).map(|value| value.as_str())
}

/// Decodes an event if the command caused it.
fn caused_by(command: Uuid, message: &Message) -> Option<AccountEvent> {
    let cause = header(message, envelope::CAUSATION_ID)?;
    if cause != command.to_string() {
        return None;
    }
    AccountEvent::decode(header(message, envelope::TYPE)?, &message.payload)
        .inspect_err(|error| tracing::error!(%error, "an account's event cannot be read"))
        .ok()
}
