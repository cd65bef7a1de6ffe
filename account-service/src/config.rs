//! The options of the service.

use std::net::SocketAddr;

use messaging::{ServiceOptions, setting};

/// Keeps the accounts of the shop's customers.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Where to serve HTTP: `/liveness` and `/readiness`.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8904", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// What every service needs.
    #[command(flatten)]
    pub service: ServiceOptions,
}
