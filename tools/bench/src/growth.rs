//! The cost of an order as the number of stored orders grows.

use std::path::Path;

use anyhow::bail;
use serde_json::json;

use crate::drive::{self, Round};
use crate::options::{Setting, Span};
use crate::report::{Line, Report, Table};
use crate::stage::Stage;
use crate::statistics::{median, number};
use crate::throughput::usage;

/// The number of orders per progress report.
const STEP: u64 = 100_000;

/// Fills the shop to each size, and measures at that size.
///
/// # Errors
///
/// If an order is lost or completed twice, or the sizes are not in ascending order.
pub async fn run(
    setting: &Setting,
    span: Span,
    sizes: &[u64],
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Report> {
    if !sizes.is_sorted() {
        bail!("the sizes must be in ascending order");
    }
    let mut stage = Stage::start(setting, progress).await?;
    let mut report = Report::begin("orders in the shop", "orders/s");
    let mut table = Table::new(
        "Growth (medians)",
        &[
            "orders in the shop",
            "orders/s",
            "CPU µs/order",
            "ratio to the first",
            "largest process MB",
            "on disk GB",
        ],
    );
    let mut by_process = Vec::new();
    let mut memory = Table::new("Memory now", &["orders in the shop", "process", "MB"]);
    let (mut line, mut first) = (Line { name: "shop".to_owned(), points: Vec::new() }, None);
    for size in sizes {
        while stage.next < *size {
            let count = (*size - stage.next).min(STEP);
            let time = drive::fill(&mut stage, count).await?;
            progress(&format!("{} orders; the last {count} took {:.1} s", stage.next, time.as_secs_f64()));
        }
        let mut rounds = Vec::new();
        for _ in 0..span.rounds {
            let processes = stage.processes();
            rounds.push(drive::drive(&mut stage, span, &processes, 1).await?);
        }
        if rounds.iter().any(|round| round.repeated > 0) {
            bail!("orders were completed more than once");
        }
        let of =
            |value: fn(&Round) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>()).unwrap_or_default();
        let rate = of(Round::rate);
        let first = *first.get_or_insert(rate);
        let used = rounds.last().map(|round| round.used.clone()).unwrap_or_default();
        // PostgreSQL and this program are not services of the shop.
        let services = used.iter().filter(|(name, _)| !["postgres", "bench"].contains(&name.as_str()));
        let largest = services.map(|(_, usage)| usage.memory).max().unwrap_or_default();
        table.add(vec![
            json!(size),
            json!(rate),
            json!(of(Round::cpu_per_order)),
            json!(if first > 0.0 { Some(rate / first) } else { None }),
            json!(number(largest) / 1e6),
            json!(number(on_disk(&stage.shop.config().data)?) / 1e9),
        ]);
        for (name, usage) in used {
            memory.add(vec![json!(size), json!(name), json!(number(usage.memory) / 1e6)]);
        }
        by_process.extend(usage(&format!("{size} orders in the shop"), &rounds));
        line.points.push((number(*size), rate));
    }
    report.plot.lines.push(line);
    report.tables.extend([table, memory]);
    report.tables.extend(by_process);
    stage.finish().await?;
    Ok(report)
}

/// Returns the total size of the files in a folder, in bytes.
fn on_disk(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Files may disappear while the shop runs.
        let Ok(metadata) = path.symlink_metadata() else { continue };
        bytes += if metadata.is_dir() { on_disk(&path).unwrap_or_default() } else { metadata.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_on_disk_is_the_sum_of_all_files() {
        let folder = std::env::temp_dir().join(format!("bench-on-disk-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("inner")).unwrap();
        std::fs::write(folder.join("a"), [0; 10]).unwrap();
        std::fs::write(folder.join("inner/b"), [0; 5]).unwrap();
        assert_eq!(on_disk(&folder).unwrap(), 15);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
