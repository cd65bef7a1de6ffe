//! Starts the account service.

use clap::Parser;
use messaging::process;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let _logs = process::init_logging()?;
    account_service::run(account_service::Config::parse(), process::shutdown_on_signal()?).await
}
