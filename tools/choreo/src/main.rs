//! The program for operators.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    choreo::Cli::parse().run().await
}
