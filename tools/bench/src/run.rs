//! Runs the benchmark of the command line.

use crate::options::{Command, Options, Via};
use crate::report::Report;
use crate::throughput::{self, Way};
use crate::{baseline_sql, contention, growth, histories, idle, latency, projections, recovery, saturate};

/// Runs the benchmark, and prints its report.
///
/// # Errors
///
/// If the benchmark fails, or its results are not valid: an order was lost or completed twice.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let report = measure(&options.command).await?;
    report.publish(options.json.as_deref(), options.svg.as_deref())
}

async fn measure(command: &Command) -> anyhow::Result<Report> {
    match command {
        Command::Baseline { setting, span } => Box::pin(throughput::run_baseline(setting, *span, &show)).await,
        Command::Throughput { setting, span, via, connections, no_baseline } => {
            let way = match via {
                Via::Stream => Way::Stream,
                Via::Http => Way::Http { connections: *connections },
            };
            Box::pin(throughput::run(setting, *span, way, !no_baseline, &show)).await
        }
        Command::Latency { setting, span, rate, connections } => {
            Box::pin(latency::run(setting, *span, *rate, *connections, &show)).await
        }
        Command::SaturateHttp { setting, span, connections } => {
            Box::pin(saturate::run(setting, *span, *connections, &show)).await
        }
        Command::BaselineSql { database, batch, span } => baseline_sql::run(*database, *batch, *span, &show).await,
        Command::Contention { setting, span } => Box::pin(contention::run(setting, *span, &show)).await,
        Command::Growth { setting, span, sizes } => Box::pin(growth::run(setting, *span, sizes, &show)).await,
        Command::Histories { database, lengths, rounds } => {
            histories::run(*database, lengths, *rounds, &show).await
        }
        Command::Recovery { setting, off, orders, rate } => {
            Box::pin(recovery::run(setting, *off, *orders, *rate, &show)).await
        }
        Command::Projections { setting, orders, rate, kills } => {
            Box::pin(projections::run(setting, *orders, *rate, *kills, &show)).await
        }
        Command::Idle { database, seconds } => Box::pin(idle::run(*database, *seconds, &show)).await,
    }
}

#[allow(clippy::print_stderr, reason = "a command-line tool")]
fn show(step: &str) {
    eprintln!("{step}");
}
