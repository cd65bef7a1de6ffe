//! Closed-loop load on the stream: a fixed number of orders in flight, published without the gateway.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream::consumer::pull;
use futures::StreamExt;
use tokio::time::{Instant, sleep_until};

use crate::ledger::Ledger;
use crate::options::Span;
use crate::pipeline::Pipeline;
use crate::stage::Stage;
use crate::statistics::{number, per, rate};
use crate::usage::{self, Processes, Usage};

/// The maximum number of orders that are placed, or of last events that are consumed, at a time.
pub(crate) const BATCH: usize = 256;
/// How long orders in flight may take to complete once no more are placed.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long one step may take without any progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The result of one round.
#[derive(Debug, Clone)]
pub struct Round {
    /// The number of orders completed in the measured time.
    pub orders: u64,
    /// The measured time.
    pub length: Duration,
    /// The number of placed orders, those before and after the measured time included; all were completed.
    pub placed: u64,
    /// The number of orders that were completed again.
    pub repeated: u64,
    /// The number of messages that the streams stored for them.
    pub messages: u64,
    /// The usage of each process in the measured time, and its peak memory.
    pub used: BTreeMap<String, Usage>,
}

impl Round {
    /// Makes the result of the time between two marks.
    pub(crate) fn between(begin: &Mark, end: &Mark, ledger: &Ledger, messages: u64) -> Self {
        Self {
            orders: end.finished - begin.finished,
            length: end.at - begin.at,
            placed: ledger.placed,
            repeated: ledger.repeated,
            messages,
            used: used(&begin.used, &end.used),
        }
    }

    /// Returns orders per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        rate(self.orders, self.length)
    }

    /// Returns messages per order.
    #[must_use]
    pub fn messages_per_order(&self) -> f64 {
        per(number(self.messages), self.placed)
    }

    /// Returns the CPU time per order, summed over all processes, in microseconds.
    #[must_use]
    pub fn cpu_per_order(&self) -> f64 {
        per(self.used.values().map(|usage| usage.cpu.as_secs_f64() * 1e6).sum(), self.orders)
    }
}

/// The state at the begin or end of the measured time.
pub(crate) struct Mark {
    pub(crate) at: Instant,
    finished: u64,
    used: BTreeMap<String, Usage>,
}

impl Mark {
    pub(crate) fn new(ledger: &Ledger, processes: &Processes) -> anyhow::Result<Self> {
        Ok(Self { at: Instant::now(), finished: ledger.finished, used: usage::of_all(processes)? })
    }
}

/// Returns the usage between two readings; peak and present memory are those of the later one.
#[must_use]
pub fn used(before: &BTreeMap<String, Usage>, after: &BTreeMap<String, Usage>) -> BTreeMap<String, Usage> {
    let since = |(name, usage): (&String, &Usage)| {
        let cpu = before.get(name).map_or(usage.cpu, |before| usage.cpu.saturating_sub(before.cpu));
        (name.clone(), Usage { cpu, ..*usage })
    };
    after.iter().map(since).collect()
}

/// The orders in flight.
struct Load<'a> {
    stage: &'a Stage,
    copies: u16,
    ledger: Ledger,
    pipeline: Pipeline,
    ends: pull::Stream,
    /// The number of commands without an acknowledgement.
    unacknowledged: u64,
}

/// Places orders for a time span, and waits until all are completed. Each command is published `copies` times.
///
/// # Errors
///
/// If the stream refuses a command, or an order is not completed.
pub async fn drive(stage: &mut Stage, span: Span, processes: &Processes, copies: u16) -> anyhow::Result<Round> {
    let messages = stage.messages().await?;
    let pipeline = Pipeline::open(&stage.client, stage.atomic).await?;
    let ends = stage.follow().await?;
    let ledger = Ledger::starting_at(stage.next);
    let mut load = Load { stage, copies, ledger, pipeline, ends, unacknowledged: 0 };
    load.run_until(Instant::now() + span.warm_up()).await?;
    let begin = Mark::new(&load.ledger, processes)?;
    load.run_until(begin.at + span.length()).await?;
    let end = Mark::new(&load.ledger, processes)?;
    load.drain().await?;
    let Load { ledger, .. } = load;
    stage.next += ledger.placed;
    Ok(Round::between(&begin, &end, &ledger, stage.messages().await? - messages))
}

/// Places `count` orders, and returns the time until all were completed.
///
/// # Errors
///
/// As [`drive`].
pub async fn fill(stage: &mut Stage, count: u64) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let pipeline = Pipeline::open(&stage.client, stage.atomic).await?;
    let ends = stage.follow().await?;
    let ledger = Ledger::starting_at(stage.next);
    let mut load = Load { stage, copies: 1, ledger, pipeline, ends, unacknowledged: 0 };
    while load.ledger.placed < count {
        let orders = load.capacity().min(count - load.ledger.placed);
        load.place(orders).await?;
        load.receive(Instant::now() + STALL_TIMEOUT).await?;
    }
    load.drain().await?;
    stage.next += count;
    Ok(start.elapsed())
}

impl Load<'_> {
    async fn run_until(&mut self, deadline: Instant) -> anyhow::Result<()> {
        while Instant::now() < deadline {
            self.place(self.capacity()).await?;
            self.receive(deadline).await?;
        }
        Ok(())
    }

    fn capacity(&self) -> u64 {
        self.stage.window.saturating_sub(self.ledger.in_flight())
    }

    /// Publishes the commands of this number of orders, at most of one batch.
    async fn place(&mut self, orders: u64) -> anyhow::Result<()> {
        let count = orders.min(BATCH as u64);
        let mut commands = Vec::new();
        for _ in 0..count {
            let number = self.ledger.place();
            for copy in 0..self.copies {
                commands.push(self.stage.orders.command(number, copy)?);
            }
        }
        self.unacknowledged += commands.len() as u64;
        self.pipeline.send(commands).await
    }

    /// Handles the next acknowledgements or events; returns at the deadline at the latest.
    async fn receive(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let mut ends = self.ends.by_ref().ready_chunks(BATCH);
        tokio::select! {
            acknowledged = self.pipeline.acknowledged() => self.unacknowledged -= acknowledged?,
            ended = ends.next() => for message in ended.context("the connection is closed")? {
                if let Some(number) = self.stage.orders.number_of(&message?.subject) {
                    self.ledger.finish(number);
                }
            },
            () = sleep_until(deadline) => {}
        }
        self.pipeline.flush().await
    }

    async fn drain(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while self.ledger.in_flight() + self.unacknowledged > 0 {
            if start.elapsed() > DRAIN_TIMEOUT {
                bail!("{} orders are not completed", self.ledger.in_flight());
            }
            self.receive(start + DRAIN_TIMEOUT + Duration::from_secs(1)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(seconds: u64, memory: u64) -> Usage {
        Usage { cpu: Duration::from_secs(seconds), peak_memory: memory, memory }
    }

    #[test]
    fn usage_is_the_difference_of_cpu_times_and_the_latest_memory() {
        let before = BTreeMap::from([("a".to_owned(), usage(3, 10))]);
        let after = BTreeMap::from([("a".to_owned(), usage(5, 20)), ("b".to_owned(), usage(1, 5))]);
        let used = used(&before, &after);
        assert_eq!((used["a"], used["b"]), (usage(2, 20), usage(1, 5)));
    }

    #[test]
    fn the_figures_of_a_round_are_per_second_and_per_order() {
        let used = BTreeMap::from([("a".to_owned(), usage(2, 0)), ("b".to_owned(), usage(1, 0))]);
        let round =
            Round { orders: 1000, length: Duration::from_secs(2), placed: 1500, repeated: 0, messages: 9000, used };
        assert!((round.rate() - 500.0).abs() < 1e-9);
        assert!((round.messages_per_order() - 6.0).abs() < 1e-9);
        assert!((round.cpu_per_order() - 3000.0).abs() < 1e-9);
    }
}
