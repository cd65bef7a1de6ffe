//! Loads the demo catalogue, opens the demo accounts, and places the demo orders.
#![allow(clippy::print_stdout, reason = "a command-line tool")]

use clap::Parser;

/// Loads the demo catalogue, opens the demo accounts, and places the demo orders through the store's public interfaces.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Where they are.
    #[command(flatten)]
    addresses: seed::Addresses,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    seed::load(&Options::parse().addresses, |step| println!("{step}")).await
}
