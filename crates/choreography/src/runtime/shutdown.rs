//! The shutdown of a service, after its signal: within a time limit, and with a report of unfinished work.

use std::future::Future;
use std::time::Duration;

use async_nats::Client;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::outbound::outbox_pending;
use crate::state::database::Databases;
use crate::telemetry::spans;

/// The time limit for the parts of a service to finish their work.
const PARTS_TIMEOUT: Duration = Duration::from_secs(7);
/// The time limit of the steps after that: counting, flushing, and closing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The time limit for counting the outbox.
const COUNT_TIMEOUT: Duration = Duration::from_millis(300);

/// The parts of a service, each a task.
#[derive(Default)]
pub(crate) struct Parts {
    tasks: JoinSet<anyhow::Result<()>>,
    running: Vec<(&'static str, AbortHandle)>,
}

/// How the parts have ended.
pub(crate) struct Stopped {
    /// The first error, or success.
    pub(crate) outcome: anyhow::Result<()>,
    /// The parts that had not ended within their limit.
    pub(crate) unfinished: Vec<&'static str>,
}

impl Parts {
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(part);
        self.running.push((name, handle));
    }

    /// Returns how the next part has ended; `None` if none is left.
    pub(crate) async fn next_end(&mut self) -> Option<anyhow::Result<()>> {
        let ended = self.tasks.join_next().await?;
        Some(ended.unwrap_or_else(|error| Err(error.into())))
    }

    /// Waits for shutdown. A part that ends before is an error.
    pub(crate) async fn end_early(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            Some(ended) = self.next_end() => match ended {
                // At a simultaneous shutdown, an end is not early.
                Ok(()) if stop.is_cancelled() => Ok(()),
                Ok(()) => Err(anyhow::anyhow!("a part of the service ended by itself")),
                Err(error) => Err(error),
            },
        }
    }

    /// Stops all parts and waits for their ends for at most 7 s; parts that still run are then aborted.
    pub(crate) async fn stop(mut self, stop: &CancellationToken, early: anyhow::Result<()>) -> Stopped {
        stop.cancel();
        let deadline = Instant::now() + PARTS_TIMEOUT;
        let mut outcome = early;
        while let Ok(Some(ended)) = timeout_at(deadline, self.next_end()).await {
            outcome = outcome.and(ended);
        }
        let running = self.running.iter().filter(|(_, handle)| !handle.is_finished());
        let unfinished = running.map(|(name, _)| *name).collect();
        self.tasks.abort_all();
        Stopped { outcome, unfinished }
    }
}

/// The steps of a shutdown after the parts have ended.
pub(crate) struct Shutdown {
    pub(crate) service: &'static str,
    pub(crate) client: Client,
    pub(crate) db: Databases,
}

impl Shutdown {
    /// Flushes and closes all connections within 1 s, and logs unfinished work. Nothing is lost: unacknowledged
    /// messages are redelivered, and the outbox is published at the next start.
    pub(crate) async fn finish(self, unfinished: &[&str]) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let counted = timeout(COUNT_TIMEOUT, outbox_pending::depth(&self.db.reader)).await;
        let outbox_pending = counted.ok().and_then(Result::ok);
        let is_flushed = matches!(timeout_at(deadline, self.client.flush()).await, Ok(Ok(())));
        let is_closed = matches!(timeout_at(deadline, self.db.close()).await, Ok(Ok(())));
        drop(timeout_at(deadline, spans::flush()).await);
        let (service, parts) = (self.service, unfinished.join(", "));
        match rest(unfinished, outbox_pending) {
            Rest::Nothing => tracing::info!(service, is_flushed, is_closed, "stopped"),
            Rest::Unknown => tracing::warn!(
                service,
                is_flushed,
                is_closed,
                "stopped; whether the outbox is empty is unknown; the next start publishes pending messages"
            ),
            Rest::Work => tracing::warn!(
                service,
                parts,
                outbox_pending,
                is_flushed,
                is_closed,
                "stopped with unfinished work; nats-server redelivers unacknowledged messages, and the next start \
                 publishes pending messages"
            ),
        }
    }
}

/// The work that a service leaves for its next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nothing. A connection that could not be flushed or closed in time does not count: lost acknowledgements only
    /// lead to deliveries that the inbox drops.
    Nothing,
    /// Possibly pending outbox messages.
    Unknown,
    /// Pending outbox messages, or a part that had not ended.
    Work,
}

fn rest(unfinished: &[&str], outbox_pending: Option<u64>) -> Rest {
    match outbox_pending {
        Some(0) if unfinished.is_empty() => Rest::Nothing,
        None if unfinished.is_empty() => Rest::Unknown,
        _ => Rest::Work,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_left_only_if_messages_are_pending_or_a_part_has_not_ended() {
        assert_eq!(rest(&[], Some(0)), Rest::Nothing);
        assert_eq!(rest(&[], None), Rest::Unknown);
        assert_eq!(rest(&[], Some(1)), Rest::Work);
        assert_eq!(rest(&["processor"], Some(0)), Rest::Work);
        assert_eq!(rest(&["processor"], None), Rest::Work);
    }
}
