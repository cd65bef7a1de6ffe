//! The start-up time of a shop, and its CPU and memory usage while idle.

use std::time::{Duration, Instant};

use anyhow::Context;
use demo::{Component, Shop, ShopConfig};
use serde_json::json;

use crate::chain::Engine;
use crate::drive::used;
use crate::options::seconds;
use crate::report::{Report, Table};
use crate::stage::{folder, log, own_program, start_postgres};
use crate::statistics::number;
use crate::usage::{self, Counted, Processes};

/// How long the shop settles before it is measured.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// Starts a shop as the demo does, and measures it for `watch` seconds.
///
/// # Errors
///
/// If the shop does not start.
pub async fn run(database: Engine, watch: f64, progress: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Report> {
    let data = folder(None)?;
    let program = own_program()?;
    let mut config = ShopConfig::on_free_ports(program, data.clone());
    let postgres = match database {
        Engine::Sqlite => None,
        Engine::Postgres => Some(start_postgres(&data, &mut config).await?),
    };
    let start = Instant::now();
    let shop = Shop::start(config, log(&data.join("components.log"))?, progress).await?;
    let ready = start.elapsed();
    tokio::time::sleep(SETTLE_TIME).await;
    let mut processes: Processes = Component::ALL
        .into_iter()
        .filter_map(|component| Some((component.name().to_owned(), Counted::Alone(shop.process(component)?))))
        .collect();
    if let Some(id) = postgres.as_ref().and_then(choreography_test::PostgresServer::id) {
        processes.insert("postgres".to_owned(), Counted::Family(id));
    }
    let (begin, before) = (Instant::now(), usage::of_all(&processes)?);
    tokio::time::sleep(seconds(watch)).await;
    let length = begin.elapsed().as_secs_f64();
    let used = used(&before, &usage::of_all(&processes)?);

    let mut report = Report::begin("process", "CPU %");
    let mut table = Table::new("Start", &["what", "seconds"]);
    table.add(vec![json!("start to ready, with nothing in the shop"), json!(ready.as_secs_f64())]);
    report.tables.push(table);
    let mut table = Table::new(format!("Idle for {watch} s"), &["process", "CPU %", "memory MB"]);
    let percent = |time: Duration| time.as_secs_f64() / length * 100.0;
    for (name, usage) in &used {
        table.add(vec![json!(name), json!(percent(usage.cpu)), json!(number(usage.memory) / 1e6)]);
    }
    let sum =
        used.values().fold((Duration::ZERO, 0), |(cpu, memory), usage| (cpu + usage.cpu, memory + usage.memory));
    table.add(vec![json!("all"), json!(percent(sum.0)), json!(number(sum.1) / 1e6)]);
    report.tables.push(table);
    let points = used.values().map(|usage| percent(usage.cpu)).collect::<Vec<_>>();
    report.plot.lines.push(crate::report::Line::of_rounds("CPU %, processes by name", &points));
    shop.shut_down().await?;
    drop(postgres);
    std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
    Ok(report)
}
