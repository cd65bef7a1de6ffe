//! The options of the service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use choreography::{ServiceOptions, setting};

/// The identity service of the sample shop.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Address of `/liveness` and `/readiness`.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8906", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// File with roles, JSON: `{"support": ["orders:read", "accounts:read"]}`. They add to the default roles, or replace
    /// those of the same name.
    #[arg(long, env = "ROLES", value_parser = setting::path())]
    pub roles: Option<PathBuf>,
    /// File with users that are created at the start unless they exist, JSON: such as the first administrator.
    #[arg(long, env = "USERS_FILE", value_parser = setting::path())]
    pub users_file: Option<PathBuf>,
    /// Create one demo user per default role, with a well-known password: never in production.
    #[arg(long, env = "DEMO_USERS", value_parser = setting::switch())]
    pub demo_users: bool,
    /// The lifetime of a session, in seconds: after it a user must sign in again.
    #[arg(long, env = "SESSION_SECONDS", default_value_t = 30 * 24 * 3600, value_parser = setting::seconds())]
    pub session_seconds: u64,
    /// The number of passwords that are hashed at one time; each needs 19 MiB.
    #[arg(long, env = "MAX_HASHES", default_value_t = 2, value_parser = setting::count(1..=64))]
    pub max_hashes: usize,
    /// The options of every service.
    #[command(flatten)]
    pub service: ServiceOptions,
}

impl Config {
    /// Returns the lifetime of a session.
    #[must_use]
    pub fn session_lifetime(&self) -> Duration {
        Duration::from_secs(self.session_seconds)
    }
}
