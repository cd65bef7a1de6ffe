//! What became of a command to an account: the event that answers it, heard or looked up.
//!
//! Listening begins before the command is published. What a listener misses all the same (a reconnect has gaps; a
//! request with a key that was used before is answered by an event of long ago) is found in the stream of events, where
//! each names the command that caused it. Only the creation of what is there already has no event; there the account
//! itself tells.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, StatusCode, Subscriber};
use contracts::CustomerId;
use contracts::account::{AccountDetails, AccountEvent};
use contracts::query::AccountView;
use contracts::topology::EVENTS;
use futures::StreamExt;
use messaging::envelope;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::problem::Code;
use crate::queries::Queries;

/// How many requests may wait at the same time; those beyond are answered at once.
const MAX_WAITERS: usize = 1024;
/// When the answer is looked up, if it was not heard by then.
const FIRST_POLL_DELAY: Duration = Duration::from_millis(100);
/// How often it is looked up afterwards.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The most events of an account that are looked through for the answer.
const MAX_EVENTS: usize = 256;
/// How far our clock may be ahead of the broker's.
const SKEW: Duration = Duration::from_secs(10 * 60);
/// How long the broker may take to find an event.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// How waiting ended.
pub(crate) enum Outcome {
    /// The account service has answered.
    Answered(AccountEvent),
    /// What was to be created is there already.
    Present(AccountView),
    /// The time is over, or the gateway ends.
    NotYet,
}

/// The requests that wait.
#[derive(Clone)]
pub(crate) struct Outcomes {
    client: Client,
    queries: Queries,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// A request that hears already what happens to its account.
pub(crate) struct Listener {
    outcomes: Outcomes,
    customer_id: CustomerId,
    events: Subscriber,
    _permit: OwnedSemaphorePermit,
}

impl Outcomes {
    pub(crate) fn new(client: Client, queries: Queries, shutdown: CancellationToken) -> Self {
        Self { client, queries, permits: Arc::new(Semaphore::new(MAX_WAITERS)), shutdown }
    }

    /// Begins to listen; `None` where too many wait already. To be called before the command is published.
    pub(crate) async fn listen(&self, customer_id: &CustomerId) -> Option<Listener> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        let subscribed = self.client.subscribe(subjects(customer_id)).await;
        let events =
            subscribed.inspect_err(|error| tracing::warn!(%error, "an account's events are not heard")).ok()?;
        Some(Listener { outcomes: self.clone(), customer_id: customer_id.clone(), events, _permit: permit })
    }
}

fn subjects(customer_id: &CustomerId) -> String {
    format!("account.event.*.{customer_id}")
}

impl Listener {
    /// Waits for the answer to a command, at most so long. `created` is what the command was to create.
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
                event = self.events.next() => match event {
                    Some(event) => if let Some(answer) = answer_to(command, &event) {
                        return Outcome::Answered(answer);
                    },
                    None => return Outcome::NotYet,
                },
                () = tokio::time::sleep_until(next_poll.min(deadline)) => {
                    match tokio::time::timeout_at(deadline, self.look(command, created)).await {
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

    async fn look(&self, command: Uuid, created: Option<&AccountDetails>) -> Option<Outcome> {
        if let Some(answer) = self.recall(command).await {
            return Some(Outcome::Answered(answer));
        }
        let created = created?;
        let subject = format!("account.query.get.{}", self.customer_id);
        let json = self.outcomes.queries.get(subject, Code::AccountNotFound).await.ok()?;
        let view: AccountView = serde_json::from_slice(&json)
            .inspect_err(|error| tracing::error!(%error, "an account cannot be read"))
            .ok()?;
        (view.details == *created).then_some(Outcome::Present(view))
    }

    /// Looks through the account's events since the command was made.
    async fn recall(&self, command: Uuid) -> Option<AccountEvent> {
        let mut from = json!({ "start_time": envelope::rfc3339(made_at(command)? - SKEW) });
        for _ in 0..MAX_EVENTS {
            from["next_by_subj"] = json!(subjects(&self.customer_id));
            let event = self.next_event(&from).await?;
            if let Some(answer) = answer_to(command, &event) {
                return Some(answer);
            }
            let sequence: u64 = header(&event, "Nats-Sequence")?.parse().ok()?;
            from = json!({ "seq": sequence + 1 });
        }
        None
    }

    async fn next_event(&self, from: &Value) -> Option<Message> {
        let request = Request::new().payload(from.to_string().into()).timeout(Some(REPLY_TIMEOUT));
        let found = self.outcomes.client.send_request(format!("$JS.API.DIRECT.GET.{EVENTS}"), request).await;
        let message = found.inspect_err(|error| tracing::warn!(%error, "events cannot be looked through")).ok()?;
        match message.status {
            None | Some(StatusCode::OK) => Some(message),
            Some(_) => None,
        }
    }
}

/// Returns when a command was made: its id begins with that.
fn made_at(command: Uuid) -> Option<time::OffsetDateTime> {
    let (seconds, _) = command.get_timestamp()?.to_unix();
    time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref().and_then(|headers: &HeaderMap| headers.get(name)).map(|value| value.as_str())
}

/// Reads an event, if it is the answer to that command.
fn answer_to(command: Uuid, event: &Message) -> Option<AccountEvent> {
    let cause = header(event, envelope::CAUSATION_ID)?;
    if cause != command.to_string() {
        return None;
    }
    AccountEvent::decode(header(event, envelope::TYPE)?, &event.payload)
        .inspect_err(|error| tracing::error!(%error, "an account's event cannot be read"))
        .ok()
}
