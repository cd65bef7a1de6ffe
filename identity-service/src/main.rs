//! Starts the identity service.

use choreography::process;
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let _logs = process::init_logging()?;
    identity_service::run(identity_service::Config::parse(), process::shutdown_on_signal()?).await
}
