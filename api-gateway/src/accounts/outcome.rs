//! The outcome of a command to an account: the event that it caused, received live or read from the stream.
//!
//! Only the creation of an existing account causes no event; then the account itself is compared.

use std::time::Duration;

use async_nats::{Client, Message};
use choreography::Messages as _;
use choreography_http::queries::{Queries, decode};
use choreography_http::waiter::{Pace, Signal, Waiter, caused_event, is_caused_by, message_type};
use contracts::CustomerId;
use contracts::account::{AccountDetails, AccountEvent};
use contracts::query::AccountView;
use contracts::topology::EVENTS;
use uuid::Uuid;

use crate::problems;

/// How often the stream is searched, if no event has arrived.
const PACE: Pace =
    Pace { first: Duration::from_millis(100), interval: Duration::from_secs(1), fast: Duration::from_secs(1) };

/// How waiting ended, if it did in time.
pub(super) enum Outcome {
    /// The account service has replied with this event.
    Replied(AccountEvent),
    /// The account to be created exists already.
    Present(AccountView),
}

/// Returns the subjects of an account's events.
pub(super) fn subjects(customer_id: &CustomerId) -> String {
    format!("account.event.*.{customer_id}")
}

/// Waits for the event that a command causes, at most `wait`; `None` if there is none by then. `created` is the content
/// that a creation asks for.
pub(super) async fn outcome(
    waiter: Waiter,
    (client, queries): (&Client, &Queries),
    customer_id: &CustomerId,
    command: Uuid,
    created: Option<&AccountDetails>,
    wait: Duration,
) -> Option<Outcome> {
    let poll = move || async move {
        let found = caused_event(client, EVENTS, &subjects(customer_id), command).await;
        if let Some(event) = found.and_then(|event| replied(&event)) {
            return Some(event);
        }
        let created = created?;
        let subject = format!("account.query.get.{customer_id}");
        let json = queries.get(subject, problems::ACCOUNT_NOT_FOUND).await.ok()?;
        let view: AccountView = decode(&json).ok()?;
        (view.details == *created).then_some(Outcome::Present(view))
    };
    let signal = |event: &Message| match is_caused_by(command, event) {
        true => replied(event).map_or(Signal::Nothing, Signal::Outcome),
        false => Signal::Nothing,
    };
    waiter.outcome(wait, PACE, signal, poll).await
}

fn replied(event: &Message) -> Option<Outcome> {
    AccountEvent::decode(message_type(event)?, &event.payload)
        .inspect_err(|error| tracing::error!(%error, "an account's event cannot be read"))
        .map(Outcome::Replied)
        .ok()
}
