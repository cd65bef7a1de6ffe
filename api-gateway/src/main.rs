//! Starts the gateway.

use clap::Parser;
use messaging::process;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let _logs = process::init_logging()?;
    api_gateway::run(api_gateway::Config::parse(), process::shutdown_on_signal()?).await
}
