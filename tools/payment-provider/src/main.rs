//! Starts the simulated payment provider.

use choreography::process;
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let _logs = process::init_logging()?;
    payment_provider::run(payment_provider::Config::parse(), process::shutdown_on_signal()?).await
}
