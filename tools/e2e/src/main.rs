//! The demo under its own name, so that the tests of this package can start it.

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    demo::cli::run().await
}
