use choreography::process;
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let _logs = process::init_logging()?;
    booking_service::run(
        booking_service::Config::parse(),
        process::shutdown_on_signal()?,
    )
    .await
}
