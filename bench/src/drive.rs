//! Orders straight into the stream, so many on their way at a time: as fast as they come to their end.

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

/// Orders placed, and ends heard of, at a time.
pub(crate) const AT_ONCE: usize = 256;
/// How long orders may take to come to their end once no more are placed.
const DRAINS_WITHIN: Duration = Duration::from_secs(120);
/// How long nothing may happen at all.
const SILENCE: Duration = Duration::from_secs(30);

/// What came of one round.
#[derive(Debug, Clone)]
pub struct Round {
    /// Orders that came to their end while it was measured.
    pub orders: u64,
    /// How long that was.
    pub length: Duration,
    /// Orders that were placed, those before and behind the measured time included; all of them came to their end.
    pub placed: u64,
    /// Ends of orders that had come to it before.
    pub repeated: u64,
    /// Messages that the streams took for them.
    pub messages: u64,
    /// What each process used while it was measured, and its peak memory.
    pub used: BTreeMap<String, Usage>,
}

impl Round {
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

    /// Returns the CPU time of an order in all processes together, in microseconds.
    #[must_use]
    pub fn cpu_per_order(&self) -> f64 {
        per(self.used.values().map(|usage| usage.cpu.as_secs_f64() * 1e6).sum(), self.orders)
    }
}

/// What was so far, when a measurement began.
struct Mark {
    at: Instant,
    finished: u64,
    used: BTreeMap<String, Usage>,
}

impl Mark {
    fn set(ledger: &Ledger, processes: &Processes) -> anyhow::Result<Self> {
        Ok(Self { at: Instant::now(), finished: ledger.finished, used: usage::of_all(processes)? })
    }
}

/// Returns what was used between two looks; peak and present memory are those of the later.
#[must_use]
pub fn used(before: &BTreeMap<String, Usage>, after: &BTreeMap<String, Usage>) -> BTreeMap<String, Usage> {
    let since = |(name, usage): (&String, &Usage)| {
        let cpu = before.get(name).map_or(usage.cpu, |before| usage.cpu.saturating_sub(before.cpu));
        (name.clone(), Usage { cpu, ..*usage })
    };
    after.iter().map(since).collect()
}

/// Orders under way through the stream.
struct Flow<'a> {
    stage: &'a Stage,
    copies: u16,
    ledger: Ledger,
    pipeline: Pipeline,
    ends: pull::Stream,
    /// Commands on their way to the stream.
    unacknowledged: u64,
}

/// Places orders for a while and waits until the last has come to its end. Each command is published `copies` times.
///
/// # Errors
///
/// Where the stream refuses a command, or an order does not come to its end.
pub async fn drive(stage: &mut Stage, span: Span, processes: &Processes, copies: u16) -> anyhow::Result<Round> {
    let messages = stage.messages().await?;
    let pipeline = Pipeline::open(&stage.client, stage.atomic).await?;
    let ends = stage.follow().await?;
    let ledger = Ledger::starting_at(stage.next);
    let mut flow = Flow { stage, copies, ledger, pipeline, ends, unacknowledged: 0 };
    flow.run_until(Instant::now() + span.warm_up()).await?;
    let begin = Mark::set(&flow.ledger, processes)?;
    flow.run_until(begin.at + span.length()).await?;
    let end = Mark::set(&flow.ledger, processes)?;
    flow.drain().await?;
    let Flow { ledger, .. } = flow;
    stage.next += ledger.placed;
    Ok(Round {
        orders: end.finished - begin.finished,
        length: end.at - begin.at,
        placed: ledger.placed,
        repeated: ledger.repeated,
        messages: stage.messages().await? - messages,
        used: used(&begin.used, &end.used),
    })
}

/// Places so many orders, and returns how long it took until the last came to its end.
///
/// # Errors
///
/// As [`drive`].
pub async fn fill(stage: &mut Stage, count: u64) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let pipeline = Pipeline::open(&stage.client, stage.atomic).await?;
    let ends = stage.follow().await?;
    let ledger = Ledger::starting_at(stage.next);
    let mut flow = Flow { stage, copies: 1, ledger, pipeline, ends, unacknowledged: 0 };
    while flow.ledger.placed < count {
        let room = flow.room().min(count - flow.ledger.placed);
        flow.place(room).await?;
        flow.hear(Instant::now() + SILENCE).await?;
    }
    flow.drain().await?;
    stage.next += count;
    Ok(start.elapsed())
}

impl Flow<'_> {
    async fn run_until(&mut self, deadline: Instant) -> anyhow::Result<()> {
        while Instant::now() < deadline {
            self.place(self.room()).await?;
            self.hear(deadline).await?;
        }
        Ok(())
    }

    fn room(&self) -> u64 {
        self.stage.window.saturating_sub(self.ledger.under_way())
    }

    /// Publishes the commands of so many orders, at most a batch.
    async fn place(&mut self, room: u64) -> anyhow::Result<()> {
        let count = room.min(AT_ONCE as u64);
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

    /// Takes what comes next; nothing, once the time has come.
    async fn hear(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let mut ends = self.ends.by_ref().ready_chunks(AT_ONCE);
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
        while self.ledger.under_way() + self.unacknowledged > 0 {
            if start.elapsed() > DRAINS_WITHIN {
                bail!("{} orders have not come to their end", self.ledger.under_way());
            }
            self.hear(start + DRAINS_WITHIN + Duration::from_secs(1)).await?;
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
    fn what_was_used_is_the_difference_in_time_and_the_latest_memory() {
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
