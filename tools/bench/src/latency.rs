//! The latency of orders at a fixed rate, compared with that of single messages on the broker at the same rate.

use anyhow::bail;

use crate::broker::Broker;
use crate::latencies::COLUMNS;
use crate::options::{Setting, Span};
use crate::paced;
use crate::report::{Report, Table};
use crate::stage::Stage;

/// Measures the broker and the shop in turn; the latencies of all rounds are merged.
///
/// # Errors
///
/// If an order is refused, lost, or completed twice.
pub async fn run(
    setting: &Setting,
    span: Span,
    rate: f64,
    connections: u64,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Report> {
    let mut stage = Stage::start(setting, progress).await?;
    let mut broker = Broker::open(&stage).await?;
    let mut report = Report::begin("percentile, as the number of nines (1: 90 %, 2: 99 %)", "ms");
    let mut sums: Option<[crate::latencies::Latencies; 3]> = None;
    for turn in 1..=span.rounds {
        let alone = broker.paced(rate, span).await?;
        let paced = paced::drive(&stage, stage.next, rate, span, connections).await?;
        stage.next += paced.placed;
        if paced.repeated > 0 {
            bail!("{} orders were completed more than once", paced.repeated);
        }
        progress(&format!("round {turn}: p50 to the end {:.2} ms", paced.ended.percentile(50.0)));
        let round = [alone, paced.accepted, paced.ended];
        match &mut sums {
            None => sums = Some(round),
            Some(sums) => {
                for (sum, more) in sums.iter_mut().zip(&round) {
                    sum.merge(more)?;
                }
            }
        }
    }
    let mut table = Table::new(format!("Latency at {rate} orders/s, from when an order was due"), &COLUMNS);
    for latencies in sums.iter().flatten() {
        table.add(latencies.row());
        report.plot.lines.push(latencies.line());
    }
    report.tables.push(table);
    stage.finish().await?;
    Ok(report)
}
