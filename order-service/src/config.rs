//! The options of the service.

use std::net::SocketAddr;

use choreography::{ServiceOptions, setting};

/// The order service of the sample shop.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Address of `/liveness` and `/readiness`.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8902", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// Time limit for an order that waits for stock, in seconds; after it the order is cancelled. At most the maximum
    /// age of the stream TIMERS, less one hour.
    #[arg(long, env = "STOCK_DEADLINE_SECONDS", default_value_t = 24 * 3600, value_parser = setting::seconds())]
    pub stock_deadline_seconds: u64,
    /// The options of every service.
    #[command(flatten)]
    pub service: ServiceOptions,
}
