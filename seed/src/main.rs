//! Loads the demo catalogue, opens the demo accounts, and places the demo orders.

use choreography::process;
use clap::Parser;

/// Loads the demo catalogue, opens the demo accounts, and places the demo orders through the shop's public interfaces.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The addresses of the public interfaces.
    #[command(flatten)]
    addresses: seed::Addresses,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    seed::load(&Options::parse().addresses, |step| process::print(step)).await
}
