//! The fault campaign; see the library. With the name of a service as subcommand it runs that service, so that the
//! campaign starts the whole shop with one program.

use std::process::ExitCode;

use choreography::process;
use clap::Parser;
use faults::{Options, campaign};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let subcommand = std::env::args().nth(1).unwrap_or_default();
    if subcommand.parse::<demo::Component>().is_ok() {
        demo::cli::run().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse();
    let held = campaign::run(&options, process::shutdown_on_signal()?).await?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
