//! `Prefer: wait=N`: holds a response until an order is final.
//!
//! Events trigger queries, and the order service's replies decide. A core subscription may lose events: it begins
//! before the command is published, but a reconnect has gaps. So the gateway also queries the order once after
//! publishing, and every few seconds.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use choreography::Messages as _;
use choreography::envelope;
use contracts::OrderId;
use contracts::order::{OrderDetails, OrderEvent, PlaceOrder};
use contracts::query::{OrderStatus, OrderView};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::problem::{Code, Problem};
use crate::queries::Queries;

/// How many requests may wait at the same time; further ones get their response at once.
const MAX_WAITERS: usize = 1024;
/// How often an order is queried while no event reports a change.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);
/// How soon an order is queried again if an event says it is final and the reply does not yet.
const FAST_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The state that a caller waits for.
pub(crate) enum Expected<'a> {
    /// This order, with this content, is final.
    Placed(&'a PlaceOrder),
    /// The order is cancelled.
    Cancelled,
}

/// How waiting ended.
pub(crate) enum Outcome {
    /// The order is final; its representation, as JSON.
    Final(Bytes),
    /// The command was refused.
    Refused(Problem),
    /// The time is over, or the gateway shuts down.
    NotYet,
}

/// Waits until orders are final.
#[derive(Clone)]
pub(crate) struct Waiters {
    client: Client,
    queries: Queries,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// A request that is subscribed to the events of its order.
pub(crate) struct Waiter {
    queries: Queries,
    order_id: OrderId,
    events: Subscriber,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Waiters {
    pub(crate) fn new(client: Client, queries: Queries, shutdown: CancellationToken) -> Self {
        Self { client, queries, permits: Arc::new(Semaphore::new(MAX_WAITERS)), shutdown }
    }

    /// Subscribes to the events of an order; `None` if too many requests wait already. Call it before publishing the
    /// command.
    pub(crate) async fn subscribe(&self, order_id: &OrderId) -> Option<Waiter> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        let subscribed = self.client.subscribe(format!("order.event.*.{order_id}")).await;
        let events = subscribed
            .inspect_err(|error| tracing::warn!(%error, "a subscription to an order's events failed"))
            .ok()?;
        Some(Waiter {
            queries: self.queries.clone(),
            order_id: order_id.clone(),
            events,
            shutdown: self.shutdown.clone(),
            _permit: permit,
        })
    }
}

impl Waiter {
    /// Waits for the expected state after a command, at most `wait`.
    pub(crate) async fn outcome(mut self, command: Uuid, expected: Expected<'_>, wait: Duration) -> Outcome {
        let deadline = Instant::now() + wait;
        let mut pace = RETRY_INTERVAL;
        loop {
            let polled = tokio::time::timeout_at(deadline, self.poll(&expected));
            if let Ok(Some(outcome)) = polled.await {
                return outcome;
            }
            let mut next_poll = Instant::now() + pace;
            loop {
                tokio::select! {
                    event = self.events.next() => match event.map(|event| outcome_in(&event, command)) {
                        Some(Received::Final) => (next_poll, pace) = (Instant::now(), FAST_POLL_INTERVAL),
                        Some(Received::Refused(problem)) => return Outcome::Refused(problem),
                        Some(Received::Nothing) => {}
                        None => return Outcome::NotYet,
                    },
                    () = tokio::time::sleep_until(next_poll.min(deadline)) => break,
                    () = self.shutdown.cancelled() => return Outcome::NotYet,
                }
            }
            if Instant::now() >= deadline {
                return Outcome::NotYet;
            }
        }
    }

    /// Queries the order; `None` if its state decides nothing yet.
    async fn poll(&self, expected: &Expected<'_>) -> Option<Outcome> {
        let subject = format!("order.query.get.{}", self.order_id);
        let json = self.queries.get(subject, Code::OrderNotFound).await.ok()?;
        let view: OrderView = serde_json::from_slice(&json)
            .inspect_err(|error| tracing::error!(%error, order.id = %self.order_id, "an order cannot be read"))
            .ok()?;
        judge(&view, expected).map(|judged| judged.map_or_else(Outcome::Refused, |()| Outcome::Final(json)))
    }
}

/// Evaluates the state of the order: final as expected, refused, or (`None`) undecided.
fn judge(view: &OrderView, expected: &Expected<'_>) -> Option<Result<(), Problem>> {
    match expected {
        // The content of an order never changes, so an order with other content is another request's.
        Expected::Placed(order) if !same_content(view, order) => Some(Err(Problem::new(Code::OrderIdAlreadyUsed))),
        Expected::Cancelled if view.status == OrderStatus::Confirmed => {
            Some(Err(Problem::new(Code::OrderAlreadyConfirmed)))
        }
        Expected::Placed(_) | Expected::Cancelled => view.status.is_final().then_some(Ok(())),
    }
}

fn same_content(view: &OrderView, order: &PlaceOrder) -> bool {
    let OrderDetails { order_id, customer_id, currency, items, total_price } = &**order;
    view.order_id == *order_id
        && view.customer_id == *customer_id
        && view.currency == *currency
        && view.items == *items
        && view.total_price == *total_price
}

enum Received {
    Final,
    Refused(Problem),
    Nothing,
}

/// Evaluates an event for a request that waits for the outcome of a command.
fn outcome_in(event: &Message, command: Uuid) -> Received {
    let header = |name: &str| event.headers.as_ref().and_then(|headers: &HeaderMap| headers.get(name));
    let caused_by_us = header(envelope::CAUSATION_ID).is_some_and(|id| id.as_str() == command.to_string());
    let Some(message_type) = header(envelope::TYPE) else { return Received::Nothing };
    match OrderEvent::decode(message_type.as_str(), &event.payload) {
        Ok(OrderEvent::Confirmed(_) | OrderEvent::Cancelled(_)) => Received::Final,
        Ok(OrderEvent::PlaceRefused(_)) if caused_by_us => {
            Received::Refused(Problem::new(Code::OrderIdAlreadyUsed))
        }
        Ok(OrderEvent::CancelRefused(_)) if caused_by_us => {
            Received::Refused(Problem::new(Code::OrderAlreadyConfirmed))
        }
        _ => Received::Nothing,
    }
}
