//! The demo's program under a name of its own, so that the tests of this package can start it.

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    demo::cli::run().await
}
