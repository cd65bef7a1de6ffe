//! The options of the service.

use std::net::SocketAddr;

use choreography::{ServiceOptions, setting};

/// The projection service of the sample shop: order search, sales, and customers.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Address of `/liveness` and `/readiness`.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8907", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// The options of every service.
    #[command(flatten)]
    pub service: ServiceOptions,
}
