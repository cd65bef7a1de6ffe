//! The options of the service.

use std::net::SocketAddr;

use choreography::{ServiceOptions, setting};

/// The inventory service of the sample shop.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Address of `/liveness`, `/readiness`, and `/automation-testing` if that is enabled.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8901", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// Serve `/automation-testing`, which fills and empties the stock: never in production.
    #[arg(long, env = "AUTOMATION_TESTING", value_parser = setting::switch())]
    pub automation_testing: bool,
    /// The options of every service.
    #[command(flatten)]
    pub service: ServiceOptions,
}
