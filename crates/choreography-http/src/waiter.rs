//! `Prefer: wait=N`: holds a response until the outcome of a command is known.
//!
//! Events decide, or make the waiter look again: [`Signal`]. A core subscription may lose events: it begins before the
//! command is published, but a reconnect has gaps, and a command with a reused key was processed long ago. So the
//! waiter also polls, with a function that asks a service or searches the stream: [`caused_event`].

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, StatusCode, Subscriber};
use choreography::envelope;
use futures::StreamExt;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many requests may wait at the same time; further ones get their response at once.
const MAX_WAITERS: usize = 1024;
/// How many events one search reads at most.
const MAX_EVENTS: usize = 256;
/// How far our clock may be ahead of the broker's.
const SKEW: Duration = Duration::from_secs(10 * 60);
/// How long the broker may take to find an event.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// What an event says about an outcome.
#[derive(Debug)]
pub enum Signal<T> {
    /// This is the outcome.
    Outcome(T),
    /// A poll will find the outcome; until it does, the waiter polls at the interval [`Pace::fast`].
    Poll,
    /// Nothing.
    Nothing,
}

/// When a waiter polls.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The delay of the first poll.
    pub first: Duration,
    /// The interval of further polls.
    pub interval: Duration,
    /// The interval after [`Signal::Poll`].
    pub fast: Duration,
}

/// Waits for the outcomes of commands, of a bounded number of requests.
#[derive(Debug, Clone)]
pub struct Waiters {
    client: Client,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// A request that is subscribed to events.
#[derive(Debug)]
pub struct Waiter {
    events: Subscriber,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Waiters {
    /// Waits over a connection, until `shutdown`.
    #[must_use]
    pub fn new(client: Client, shutdown: CancellationToken) -> Self {
        Self { client, permits: Arc::new(Semaphore::new(MAX_WAITERS)), shutdown }
    }

    /// Subscribes to events, such as `booking.event.*.<key>`; `None` if too many requests wait already. Call it before
    /// the command is published; otherwise an event that it causes could be missed.
    pub async fn subscribe(&self, subjects: String) -> Option<Waiter> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        let subscribed = self.client.subscribe(subjects).await;
        let events =
            subscribed.inspect_err(|error| tracing::warn!(%error, "a subscription to events failed")).ok()?;
        Some(Waiter { events, shutdown: self.shutdown.clone(), _permit: permit })
    }
}

impl Waiter {
    /// Waits for an outcome for at most `wait`; `None` if the time is over, or at the shutdown.
    pub async fn outcome<T, F: Future<Output = Option<T>> + Send>(
        mut self,
        wait: Duration,
        pace: Pace,
        judge: impl Fn(&Message) -> Signal<T>,
        poll: impl Fn() -> F,
    ) -> Option<T> {
        let deadline = Instant::now() + wait;
        let (mut next_poll, mut interval) = (Instant::now() + pace.first, pace.interval);
        loop {
            tokio::select! {
                event = self.events.next() => match judge(&event?) {
                    Signal::Outcome(outcome) => return Some(outcome),
                    Signal::Poll => (next_poll, interval) = (Instant::now(), pace.fast),
                    Signal::Nothing => {}
                },
                () = tokio::time::sleep_until(next_poll.min(deadline)) => {
                    if let Ok(Some(outcome)) = tokio::time::timeout_at(deadline, poll()).await {
                        return Some(outcome);
                    }
                    next_poll = Instant::now() + interval;
                }
                () = self.shutdown.cancelled() => return None,
            }
            if Instant::now() >= deadline {
                return None;
            }
        }
    }
}

/// Returns whether a command caused a message.
#[must_use]
pub fn is_caused_by(command: Uuid, message: &Message) -> bool {
    header(message, envelope::CAUSATION_ID) == Some(&command.to_string())
}

/// Returns the type of a message; `None` if it has none.
#[must_use]
pub fn message_type(message: &Message) -> Option<&str> {
    header(message, envelope::TYPE)
}

/// Searches a stream for the event that a command caused, since the command was made. `None` if the stream has none, or
/// does not reply.
pub async fn caused_event(client: &Client, stream: &str, subjects: &str, command: Uuid) -> Option<Message> {
    let mut from = json!({ "start_time": envelope::rfc3339(made_at(command)? - SKEW) });
    for _ in 0..MAX_EVENTS {
        from["next_by_subj"] = json!(subjects);
        let request = Request::new().payload(from.to_string().into()).timeout(Some(REPLY_TIMEOUT));
        let found = client.send_request(format!("$JS.API.DIRECT.GET.{stream}"), request).await;
        let event = found.inspect_err(|error| tracing::warn!(%error, "events cannot be searched")).ok()?;
        if event.status.is_some_and(|status| status != StatusCode::OK) {
            return None;
        }
        if is_caused_by(command, &event) {
            return Some(event);
        }
        let sequence: u64 = header(&event, "Nats-Sequence")?.parse().ok()?;
        from = json!({ "seq": sequence + 1 });
    }
    None
}

/// Returns when a command was made, from its time-ordered id.
fn made_at(command: Uuid) -> Option<time::OffsetDateTime> {
    let (seconds, _) = command.get_timestamp()?.to_unix();
    time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref().and_then(|headers: &HeaderMap| headers.get(name)).map(|value| value.as_str())
}
