//! The benchmark program; see the library. With the name of a service as subcommand it runs that service, so that one
//! program runs the whole shop. Hidden subcommands run the processes of the baselines.

use std::process::ExitCode;

use bench::Options;
use bench::bare::{self, BareService};
use bench::baseline::BaselineService;
use bench::recount::{self, RecountService};
use bench::trivial::TrivialServer;
use choreography::process;
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let subcommand = std::env::args().nth(1).unwrap_or_default();
    if subcommand.parse::<demo::Component>().is_ok() {
        return demo::cli::run().await;
    }
    if subcommand == "baseline-service" {
        let arguments = std::env::args().skip(1);
        BaselineService::parse_from(arguments).run(process::shutdown_on_signal()?).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if subcommand == bare::SERVICE {
        BareService::parse_from(std::env::args().skip(1)).run(process::shutdown_on_signal()?).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if subcommand == "trivial-server" {
        TrivialServer::parse_from(std::env::args().skip(1)).run(process::shutdown_on_signal()?).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if subcommand == recount::SERVICE {
        let _logs = process::init_logging()?;
        RecountService::parse_from(std::env::args().skip(1)).run(process::shutdown_on_signal()?).await?;
        return Ok(ExitCode::SUCCESS);
    }
    bench::run::run(Options::parse()).await?;
    Ok(ExitCode::SUCCESS)
}
