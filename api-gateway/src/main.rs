//! Starts the gateway.

use choreography::process;
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let _logs = process::init_logging()?;
    api_gateway::run(api_gateway::Config::parse(), process::shutdown_on_signal()?).await
}
