//! The options of the service.

use std::net::SocketAddr;

use messaging::{ServiceOptions, setting};

/// Keeps the stock of the shop and reserves it for orders.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Where to serve HTTP: `/liveness`, `/readiness`, and `/automation-testing` where that is on.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8901", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// Serve `/automation-testing`, which fills and empties the stock: never where it matters.
    #[arg(long, env = "AUTOMATION_TESTING", value_parser = setting::switch())]
    pub automation_testing: bool,
    /// What every service needs.
    #[command(flatten)]
    pub service: ServiceOptions,
}
