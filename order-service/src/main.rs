//! Starts the order service.

use clap::Parser;
use messaging::process;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let _logs = process::init_logging()?;
    order_service::run(order_service::Config::parse(), process::shutdown_on_signal()?).await
}
