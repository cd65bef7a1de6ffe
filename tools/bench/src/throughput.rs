//! The throughput of orders from the acknowledged command to the last event, in turn with the baselines.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use sea_orm::{ConnectionTrait, Database, Statement};
use serde_json::json;

use crate::bare;
use crate::baseline;
use crate::closed;
use crate::drive::{self, Round};
use crate::options::{Setting, Span};
use crate::report::{Line, Report, Table};
use crate::stage::Stage;
use crate::statistics::{median, number, per, ratio};

/// How commands are published.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// By the benchmark itself, as the gateway's user.
    Stream,
    /// By the gateway, with `POST /orders`.
    Http {
        /// The number of connections, each with one request at a time.
        connections: u64,
    },
}

/// The rounds of a run.
#[derive(Debug, Default)]
struct Rounds {
    /// The [fixed baseline](bare).
    bare: Vec<Round>,
    baseline: Vec<Round>,
    shop: Vec<Round>,
}

impl Rounds {
    async fn measure_baselines(
        &mut self,
        stage: &mut Stage,
        span: Span,
        turn: u64,
        progress: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<()> {
        let round = bare::round(stage, span).await?;
        progress(&format!("round {turn}: bare {:.0} orders/s", round.rate()));
        self.bare.push(round);
        let round = baseline::round(stage, span).await?;
        progress(&format!("round {turn}: the baseline {:.0} orders/s", round.rate()));
        self.baseline.push(round);
        Ok(())
    }
}

/// Measures rounds of the baselines and of the shop in turn.
///
/// # Errors
///
/// If a process does not start, or an order is not completed exactly once.
pub async fn run(
    setting: &Setting,
    span: Span,
    way: Way,
    with_baseline: bool,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Report> {
    let mut stage = Stage::start(setting, progress).await?;
    let mut rounds = Rounds::default();
    for turn in 1..=span.rounds {
        if with_baseline {
            rounds.measure_baselines(&mut stage, span, turn, progress).await?;
        }
        let (round, refused) = measured(&mut stage, span, way).await?;
        if setting.shipped_limits {
            progress(&format!("round {turn}: {refused} responses 503, {}", stage.describe_streams().await?));
        }
        progress(&format!("round {turn}: the shop {:.0} orders/s", round.rate()));
        rounds.shop.push(round);
    }
    // The order of the sample counts, too.
    let placed = 1 + rounds.shop.iter().map(|round| round.placed).sum::<u64>();
    check(&stage, placed).await?;
    progress(&format!("{placed} orders placed, every one {} exactly once", stage.chain.last_status()));
    let report = report(&stage, &rounds, placed);
    stage.finish().await?;
    Ok(report)
}

/// Measures the baselines alone.
///
/// # Errors
///
/// As [`run`].
pub async fn run_baseline(
    setting: &Setting,
    span: Span,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Report> {
    let mut stage = Stage::start(setting, progress).await?;
    let mut rounds = Rounds::default();
    for turn in 1..=span.rounds {
        rounds.measure_baselines(&mut stage, span, turn, progress).await?;
    }
    let report = report(&stage, &rounds, 1);
    stage.finish().await?;
    Ok(report)
}

/// Measures one round of the shop, and counts the 503 responses.
async fn measured(stage: &mut Stage, span: Span, way: Way) -> anyhow::Result<(Round, u64)> {
    let processes = stage.processes();
    let (round, refused) = match way {
        Way::Stream => (drive::drive(stage, span, &processes, 1).await?, 0),
        Way::Http { connections } => {
            let (round, responses) = closed::drive(stage, span, connections, &processes).await?;
            (round, responses.refused)
        }
    };
    if round.repeated > 0 {
        bail!("{} orders were completed more than once", round.repeated);
    }
    Ok((round, refused))
}

/// Checks in the database of the order service that `placed` orders exist, and that all are completed.
///
/// # Errors
///
/// If the counts differ.
pub async fn check(stage: &Stage, placed: u64) -> anyhow::Result<()> {
    let url = stage
        .shop
        .config()
        .database_url(demo::Component::OrderService)
        .context("the order service has no database URL")?;
    let database = Database::connect(url).await.context("opening the order service's database")?;
    let sql = "SELECT status, COUNT(*) AS n FROM order_views GROUP BY status";
    let rows = database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await?;
    let mut counts = BTreeMap::new();
    for row in rows {
        let (status, count): (String, i64) = (row.try_get("", "status")?, row.try_get("", "n")?);
        counts.insert(status, u64::try_from(count)?);
    }
    database.close().await?;
    let expected = BTreeMap::from([(stage.chain.last_status().to_owned(), placed)]);
    if counts != expected {
        bail!("the order service has {counts:?}; it should have {expected:?}");
    }
    Ok(())
}

fn report(stage: &Stage, rounds: &Rounds, placed: u64) -> Report {
    let rates = |rounds: &[Round]| rounds.iter().map(Round::rate).collect::<Vec<_>>();
    let (bare, baseline) = (rates(&rounds.bare), rates(&rounds.baseline));
    let all = [("bare", &rounds.bare), ("baseline", &rounds.baseline), ("shop", &rounds.shop)];
    let mut report = Report::begin("round", "orders/s");
    let mut table = Table::new(
        "Throughput (medians; the ratio is that of the medians)",
        &["what", "orders/s", "messages/order", "CPU µs/order", "orders", "ratio to the baseline", "ratio to bare"],
    );
    for (name, rounds) in all {
        if rounds.is_empty() {
            continue;
        }
        let rates = &rates(rounds);
        let of = |value: fn(&Round) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
        let to_baseline = ratio(rates, &baseline).filter(|_| name == "shop");
        let to_bare = ratio(rates, &bare).filter(|_| name != "bare");
        let orders: u64 = rounds.iter().map(|round| round.orders).sum();
        table.add(vec![
            json!(name),
            json!(median(rates)),
            json!(of(Round::messages_per_order)),
            json!(of(Round::cpu_per_order)),
            json!(orders),
            json!(to_baseline),
            json!(to_bare),
        ]);
        report.plot.lines.push(Line::of_rounds(name, rates));
    }
    report.tables.push(table);
    let mut placed_table = Table::new("Orders of the shop, all rounds with warm-up", &["what", "orders"]);
    if !rounds.shop.is_empty() {
        placed_table.add(vec![json!("placed"), json!(placed)]);
        placed_table.add(vec![json!(stage.chain.last_status()), json!(placed)]);
        report.tables.push(placed_table);
    }
    for (name, rounds) in all {
        report.tables.extend(usage(name, rounds));
    }
    report
}

/// Returns the usage of each process in the rounds, per order and per second.
#[must_use]
pub fn usage(name: &str, rounds: &[Round]) -> Option<Table> {
    let last = rounds.last()?;
    let orders = rounds.iter().map(|round| round.orders).sum();
    let seconds: f64 = rounds.iter().map(|round| round.length.as_secs_f64()).sum();
    let mut table =
        Table::new(format!("Processes: {name}"), &["process", "CPU s", "CPU %", "CPU µs/order", "peak memory MB"]);
    for (process, usage) in &last.used {
        let cpu: f64 =
            rounds.iter().filter_map(|round| round.used.get(process)).map(|usage| usage.cpu.as_secs_f64()).sum();
        table.add(vec![
            json!(process),
            json!(cpu),
            json!(cpu / seconds * 100.0),
            json!(per(cpu * 1e6, orders)),
            json!(number(usage.peak_memory) / 1e6),
        ]);
    }
    Some(table)
}
