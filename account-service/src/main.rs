//! Starts the account service.

use clap::Parser;
use messaging::process;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    process::init_logging();
    account_service::run(account_service::Config::parse(), process::shutdown_on_signal()?).await
}
