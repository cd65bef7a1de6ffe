//! The options of the program.

use std::net::SocketAddr;
use std::path::PathBuf;

use choreography::listener::HttpOptions;
use choreography::setting;

/// A simulated payment provider for demonstrations and tests, with configurable faults.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Address of the HTTP server.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8910", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// The options of the HTTP server.
    #[command(flatten)]
    pub http: HttpOptions,
    /// File of the ledger, one JSON object per line; created if missing.
    #[arg(long, env = "LEDGER", default_value = "data/payment-provider.jsonl", value_parser = setting::path())]
    pub ledger: PathBuf,
}
