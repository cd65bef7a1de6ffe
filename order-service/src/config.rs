//! The options of the service.

use std::net::SocketAddr;

use messaging::{ServiceOptions, setting};

/// Keeps the orders of the shop.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Where `/liveness` and `/readiness` are served.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8902", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// How long an order may wait for stock before it is cancelled, in seconds; at most as long as the stream TIMERS keeps
    /// messages, less one hour.
    #[arg(long, env = "STOCK_DEADLINE_SECONDS", default_value_t = 24 * 3600, value_parser = setting::seconds())]
    pub stock_deadline_seconds: u64,
    /// What every service needs.
    #[command(flatten)]
    pub service: ServiceOptions,
}
