//! The options of the program.

use std::net::SocketAddr;
use std::path::PathBuf;

use messaging::listener::HttpOptions;
use messaging::setting;

/// Stands in for a payment provider: takes money that does not exist, and misbehaves when told to.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Where to serve HTTP.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8910", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// How HTTP is served.
    #[command(flatten)]
    pub http: HttpOptions,
    /// The file of the ledger, a JSON object a line; made where it does not exist.
    #[arg(long, env = "LEDGER", default_value = "data/payment-provider.jsonl", value_parser = setting::path())]
    pub ledger: PathBuf,
}
