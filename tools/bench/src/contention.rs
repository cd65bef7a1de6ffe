//! The effect of contention: orders that conflict with each other, compared with orders that do not.

use anyhow::bail;
use serde_json::json;

use crate::drive::{self, Round};
use crate::options::{Setting, Span};
use crate::orders::Orders;
use crate::report::{Line, Report, Table};
use crate::stage::Stage;
use crate::statistics::{median, ratio};
use crate::throughput::check;

/// The number of lines of a long order.
const MANY_LINES: u64 = 20;
/// How often each command is published in the round of duplicates: 90 % of the commands are duplicates.
const COPIES: u16 = 10;

/// Measures the kinds of orders in turn.
///
/// # Errors
///
/// If an order is lost, or completed twice.
pub async fn run(setting: &Setting, span: Span, progress: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Report> {
    let mut stage = Stage::start(setting, progress).await?;
    let spread = stage.orders;
    let kinds = [
        ("spread", spread, 1),
        ("one product", Orders { products: 1, ..spread }, 1),
        ("20 lines", Orders { lines: MANY_LINES, ..spread }, 1),
        ("90 % duplicates", spread, COPIES),
    ];
    let mut rounds: Vec<Vec<Round>> = kinds.iter().map(|_| Vec::new()).collect();
    let mut placed = 1;
    for turn in 1..=span.rounds {
        for ((name, orders, copies), rounds) in kinds.iter().zip(&mut rounds) {
            stage.orders = *orders;
            let processes = stage.processes();
            let round = drive::drive(&mut stage, span, &processes, *copies).await?;
            if round.repeated > 0 {
                bail!("{} orders were completed more than once", round.repeated);
            }
            progress(&format!("round {turn}: {name} {:.0} orders/s", round.rate()));
            placed += round.placed;
            rounds.push(round);
        }
    }
    check(&stage, placed).await?;
    let mut report = Report::begin("round", "orders/s");
    let mut table = Table::new(
        "Contention (medians)",
        &["what", "orders/s", "commands/s", "CPU µs/order", "ratio of orders to spread", "of commands"],
    );
    let rates: Vec<Vec<f64>> = rounds.iter().map(|rounds| rounds.iter().map(Round::rate).collect()).collect();
    for (((name, _, copies), rounds), own) in kinds.iter().zip(&rounds).zip(&rates) {
        let copies = f64::from(*copies);
        let of_orders = rates.first().and_then(|spread| ratio(own, spread));
        table.add(vec![
            json!(name),
            json!(median(own)),
            json!(median(own).map(|rate| rate * copies)),
            json!(median(&rounds.iter().map(Round::cpu_per_order).collect::<Vec<_>>())),
            json!(of_orders),
            json!(of_orders.map(|ratio| ratio * copies)),
        ]);
        report.plot.lines.push(Line::of_rounds(name, own));
    }
    report.tables.push(table);
    stage.finish().await?;
    Ok(report)
}
