//! The options of the service.

use std::net::SocketAddr;

use messaging::ServiceOptions;

/// Keeps the orders of the store.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Where `/liveness` and `/readiness` are served.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8902")]
    pub http_address: SocketAddr,
    /// What every service needs.
    #[command(flatten)]
    pub service: ServiceOptions,
}
