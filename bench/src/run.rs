//! Does what the command line asks.

use crate::options::{Command, Options, Via};
use crate::report::Report;
use crate::throughput::{self, Way};
use crate::{baseline_sql, contention, growth, idle, latency, recovery, saturate};

/// Measures, and shows what came of it.
///
/// # Errors
///
/// Where it cannot be measured, or what was measured is not sound: an order lost, or final twice.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let report = measure(&options.command).await?;
    report.publish(options.json.as_deref(), options.svg.as_deref())
}

async fn measure(command: &Command) -> anyhow::Result<Report> {
    match command {
        Command::Baseline { setting, span } => Box::pin(throughput::run_baseline(setting, *span, &say)).await,
        Command::Throughput { setting, span, via, connections, no_baseline } => {
            let way = match via {
                Via::Stream => Way::Stream,
                Via::Http => Way::Http { connections: *connections },
            };
            Box::pin(throughput::run(setting, *span, way, !no_baseline, &say)).await
        }
        Command::Latency { setting, span, rate, connections } => {
            Box::pin(latency::run(setting, *span, *rate, *connections, &say)).await
        }
        Command::SaturateHttp { setting, span, connections } => {
            Box::pin(saturate::run(setting, *span, *connections, &say)).await
        }
        Command::BaselineSql { database, batch, span } => baseline_sql::run(*database, *batch, *span, &say).await,
        Command::Contention { setting, span } => Box::pin(contention::run(setting, *span, &say)).await,
        Command::Growth { setting, span, sizes } => Box::pin(growth::run(setting, *span, sizes, &say)).await,
        Command::Recovery { setting, off, orders, rate } => {
            Box::pin(recovery::run(setting, *off, *orders, *rate, &say)).await
        }
        Command::Idle { database, seconds } => Box::pin(idle::run(*database, *seconds, &say)).await,
    }
}

#[allow(clippy::print_stderr, reason = "a command-line tool")]
fn say(step: &str) {
    eprintln!("{step}");
}
