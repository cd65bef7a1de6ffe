//! The recovery of a service from a backlog: the time to drain it, and the latency of new orders meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_nats::jetstream::consumer::pull;
use demo::Component;
use futures::StreamExt;
use serde_json::json;

use crate::drive::BATCH;
use crate::latencies::{COLUMNS, Latencies};
use crate::ledger::Ledger;
use crate::options::Setting;
use crate::orders::Orders;
use crate::paced;
use crate::pipeline::Pipeline;
use crate::report::{Report, Table};
use crate::stage::Stage;
use crate::statistics::rate;
use crate::throughput::check;

/// How long the backlog may make no progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Stops a service, builds up the backlog, restarts the service, and measures the recovery.
///
/// # Errors
///
/// If an order is lost, or completed twice.
pub async fn run(
    setting: &Setting,
    off: Component,
    count: u64,
    pace: f64,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Report> {
    if !setting.chain.services().contains(&off) {
        bail!("{off} handles no orders of this chain");
    }
    let mut stage = Stage::start(setting, progress).await?;
    let before = paced::drive(&stage, stage.next, pace, paced::SPAN, paced::CONNECTIONS).await?;
    stage.next += before.placed;

    stage.shop.stop(off).await?;
    let ends = stage.follow().await?;
    let mut backlog = Ledger::starting_at(stage.next);
    build_backlog(&stage, &mut backlog, count).await?;
    stage.next += count;
    progress(&format!("{count} orders are waiting; restarting {off}"));
    let start = Instant::now();
    stage.shop.start_component(off).await?;
    let drained = drain(ends, stage.orders, backlog);
    let (drained, meanwhile) = paced::during(&stage, stage.next, pace, drained).await?;
    stage.next += meanwhile.placed;
    check(&stage, stage.next).await?;
    let report = report(off, count, drained.duration_since(start), pace, &before, &meanwhile);
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

/// Places orders without waiting for their completion.
async fn build_backlog(stage: &Stage, backlog: &mut Ledger, count: u64) -> anyhow::Result<()> {
    let mut pipeline = Pipeline::open(&stage.client, stage.atomic).await?;
    let mut unacknowledged = 0;
    while backlog.placed < count || unacknowledged > 0 {
        let capacity = stage.window.saturating_sub(unacknowledged).min(count - backlog.placed);
        let mut commands = Vec::new();
        for _ in 0..capacity.min(BATCH as u64) {
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

/// Returns the time at which the last order of the backlog was completed.
async fn drain(mut ends: pull::Stream, orders: Orders, mut backlog: Ledger) -> anyhow::Result<Instant> {
    while backlog.in_flight() > 0 {
        let message = tokio::time::timeout(STALL_TIMEOUT, ends.next());
        let message = message.await.with_context(|| format!("{} orders are not completed", backlog.in_flight()))?;
        let message = message.context("the consumer has ended")??;
        if let Some(number) = orders.number_of(&message.subject) {
            backlog.finish(number);
        }
    }
    if backlog.repeated > 0 {
        bail!("{} orders were completed more than once", backlog.repeated);
    }
    Ok(Instant::now())
}
