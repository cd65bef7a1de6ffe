//! Starts the shop, or a part of it.

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    demo::cli::run().await
}
