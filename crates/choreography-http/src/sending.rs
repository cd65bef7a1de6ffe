//! A command of a request, from its publication to its outcome.

use std::time::Duration;

use async_nats::Message;
use choreography::Publish;
use uuid::Uuid;

use crate::commands::{Commands, Request, Stored};
use crate::parameter::Prefer;
use crate::problem::Problem;
use crate::waiter::{Pace, Signal, Waiters, is_caused_by};

/// When a service is asked for the outcome.
const PACE: Pace =
    Pace { first: Duration::from_millis(100), interval: Duration::from_secs(1), fast: Duration::from_millis(50) };

/// A command that is stored.
#[derive(Debug)]
pub struct Sent<T> {
    /// Its id, and whether it was stored before.
    pub stored: Stored,
    /// Its outcome; `None` if the request does not wait for it, or there is none in time.
    pub outcome: Option<T>,
}

/// Publishes a command. If the request prefers that ([`Prefer`]), waits for the outcome.
///
/// `events` are the subjects of the events that the command may cause. `judge` evaluates those that it has caused, and
/// `poll` asks a service: events may be lost while the connection is interrupted, and a repeated command causes none.
///
/// # Errors
///
/// As [`Commands::send`].
pub async fn send<T, F: Future<Output = Option<T>> + Send>(
    (commands, waiters): (&Commands, &Waiters),
    (command, request): (&impl Publish, Request<'_>),
    (prefer, events): (Option<Prefer>, String),
    judge: impl Fn(&Message) -> Signal<T>,
    poll: impl Fn() -> F,
) -> Result<Sent<T>, Problem> {
    // Before the command is published; otherwise an event could be missed.
    let waiting = match prefer.and_then(Prefer::duration) {
        Some(wait) => waiters.subscribe(events).await.map(|waiter| (waiter, wait)),
        None => None,
    };
    let stored = commands.send(command, request).await?;
    let outcome = match waiting {
        Some((waiter, wait)) => waiter.outcome(wait, PACE, |event| caused(stored.id, event, &judge), poll).await,
        None => None,
    };
    Ok(Sent { stored, outcome })
}

fn caused<T>(command: Uuid, event: &Message, judge: impl Fn(&Message) -> Signal<T>) -> Signal<T> {
    if is_caused_by(command, event) { judge(event) } else { Signal::Nothing }
}
