//! The configuration of the gateway.

use std::net::SocketAddr;

use choreography::connection::NatsOptions;
use choreography::durability::DurabilityOptions;
use choreography::listener::HttpOptions;
use choreography::setting;

use crate::auth::AuthOptions;
use crate::dashboard::DashboardOptions;
use crate::operations::OperationsOptions;

/// The shop's gateway: REST in, commands out; queries and live events back.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Where to serve HTTP.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8900", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// How HTTP is served.
    #[command(flatten)]
    pub http: HttpOptions,
    /// Where the broker is and who we are.
    #[command(flatten)]
    pub nats: NatsOptions,
    /// The required durability of an acknowledgement.
    #[command(flatten)]
    pub durability: DurabilityOptions,
    /// How many messages may wait for a service before further commands are refused with 503.
    #[arg(long, env = "MAX_BACKLOG", default_value_t = 1_000_000, value_parser = setting::number(1..=1_000_000_000_000))]
    pub max_backlog: u64,
    /// Whether callers sign in.
    #[command(flatten)]
    pub auth: AuthOptions,
    /// The operations for operators.
    #[command(flatten)]
    pub operations: OperationsOptions,
    /// The settings of the dashboard.
    #[command(flatten)]
    pub dashboard: DashboardOptions,
}
