//! A service is off while orders pile up: how long it takes to catch up, and how new orders fare meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_nats::jetstream::consumer::pull;
use demo::Component;
use futures::StreamExt;
use serde_json::json;

use crate::drive::AT_ONCE;
use crate::latencies::{COLUMNS, Latencies};
use crate::ledger::Ledger;
use crate::options::{Setting, Span};
use crate::orders::Orders;
use crate::paced;
use crate::pipeline::Pipeline;
use crate::report::{Report, Table};
use crate::stage::Stage;
use crate::statistics::rate;
use crate::throughput::check;

/// Connections to the gateway for new orders.
const CONNECTIONS: u64 = 16;
/// How long new orders come before anything is broken, and at a time while it is repaired.
const SPAN: Span = Span { warm_up: 0.0, seconds: 5.0, rounds: 1 };
/// How long nothing of the backlog may move.
const SILENCE: Duration = Duration::from_secs(60);

/// Measures it.
///
/// # Errors
///
/// Where an order is lost, or ends twice.
pub async fn run(
    setting: &Setting,
    off: Component,
    count: u64,
    pace: f64,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Report> {
    if !setting.chain.services().contains(&off) {
        bail!("{off} has no part in this chain");
    }
    let mut stage = Stage::start(setting, progress).await?;
    let before = paced::drive(&stage, stage.next, pace, SPAN, CONNECTIONS).await?;
    stage.next += before.placed;

    stage.shop.stop(off).await?;
    let ends = stage.follow().await?;
    let mut backlog = Ledger::starting_at(stage.next);
    pile_up(&stage, &mut backlog, count).await?;
    stage.next += count;
    progress(&format!("{count} orders wait; {off} starts again"));
    let start = Instant::now();
    stage.shop.start_component(off).await?;
    let mut meanwhile: Option<paced::Paced> = None;
    let next = stage.next;
    let drained = drain(ends, stage.orders, backlog);
    tokio::pin!(drained);
    let (mut drained_after, mut placed) = (None, 0);
    while drained_after.is_none() {
        let paced = paced::drive(&stage, next + placed, pace, SPAN, CONNECTIONS);
        tokio::pin!(paced);
        let paced = tokio::select! {
            after = &mut drained => {
                drained_after = Some(after?.duration_since(start));
                paced.await?
            }
            paced = &mut paced => paced?,
        };
        placed += paced.placed;
        meanwhile = Some(match meanwhile.take() {
            None => paced,
            Some(mut all) => {
                all.accepted.merge(&paced.accepted)?;
                all.ended.merge(&paced.ended)?;
                all
            }
        });
    }
    stage.next += placed;
    check(&stage, stage.next).await?;
    let meanwhile = meanwhile.context("nothing was measured")?;
    let report = report(off, count, drained_after.unwrap_or_default(), pace, &before, &meanwhile);
    stage.finish().await?;
    Ok(report)
}

fn report(
    off: Component,
    count: u64,
    drained_after: Duration,
    pace: f64,
    before: &paced::Paced,
    meanwhile: &paced::Paced,
) -> Report {
    let mut report = Report::begin("percentile, as the number of nines (1: 90 %, 2: 99 %)", "ms");
    let mut table = Table::new("Recovery", &["was off", "orders that waited", "seconds to drain", "orders/s"]);
    let seconds = drained_after.as_secs_f64();
    table.add(vec![json!(off.name()), json!(count), json!(seconds), json!(rate(count, drained_after))]);
    report.tables.push(table);
    for (when, paced) in [("before", before), ("meanwhile", meanwhile)] {
        let mut table = Table::new(format!("New orders {when}, {pace} a second"), &COLUMNS);
        for latencies in [&paced.accepted, &paced.ended] {
            table.add(Latencies::row(latencies));
            let mut line = latencies.line();
            line.name = format!("{when}: {}", line.name);
            report.plot.lines.push(line);
        }
        report.tables.push(table);
    }
    report
}

/// Places orders without waiting for what becomes of them.
async fn pile_up(stage: &Stage, backlog: &mut Ledger, count: u64) -> anyhow::Result<()> {
    let mut pipeline = Pipeline::open(&stage.client, stage.atomic).await?;
    let mut unacknowledged = 0;
    while backlog.placed < count || unacknowledged > 0 {
        let room = stage.window.saturating_sub(unacknowledged).min(count - backlog.placed);
        let mut commands = Vec::new();
        for _ in 0..room.min(AT_ONCE as u64) {
            commands.push(stage.orders.command(backlog.place(), 0)?);
        }
        unacknowledged += commands.len() as u64;
        pipeline.send(commands).await?;
        if unacknowledged >= stage.window || backlog.placed == count {
            unacknowledged -= pipeline.acknowledged().await?;
            pipeline.flush().await?;
        }
    }
    Ok(())
}

/// Returns when the last order of the backlog had come to its end.
async fn drain(mut ends: pull::Stream, orders: Orders, mut backlog: Ledger) -> anyhow::Result<Instant> {
    while backlog.under_way() > 0 {
        let message = tokio::time::timeout(SILENCE, ends.next());
        let message =
            message.await.with_context(|| format!("{} orders have not come to their end", backlog.under_way()))?;
        let message = message.context("no more events")??;
        if let Some(number) = orders.number_of(&message.subject) {
            backlog.finish(number);
        }
    }
    if backlog.repeated > 0 {
        bail!("{} orders came to their end more than once", backlog.repeated);
    }
    Ok(Instant::now())
}
