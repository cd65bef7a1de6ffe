//! The options of every service.

use std::time::Duration;

use crate::broker::connection::NatsOptions;
use crate::broker::durability::DurabilityOptions;
#[cfg(feature = "http")]
use crate::runtime::listener::HttpOptions;
use crate::setting::{self, Args};
use crate::state::storage::StorageOptions;

/// The default of [`ServiceOptions::retention_seconds`]: a day longer than the streams of the shop keep messages.
const RETENTION_SECONDS: u64 = 8 * 24 * 3600;
/// The default of [`ServiceOptions::cleanup_seconds`].
const CLEANUP_SECONDS: u64 = 60;
/// The default of [`ServiceOptions::max_attempts`].
const MAX_ATTEMPTS: u64 = 8;

/// The options of every service.
#[derive(Debug, Clone, Args)]
pub struct ServiceOptions {
    /// The broker's address and the user's credentials.
    #[command(flatten)]
    pub nats: NatsOptions,
    /// The required durability of acknowledged messages.
    #[command(flatten)]
    pub durability: DurabilityOptions,
    /// The HTTP server's options.
    #[cfg(feature = "http")]
    #[command(flatten)]
    pub http: HttpOptions,
    /// The threshold of free disk space.
    #[command(flatten)]
    pub storage: StorageOptions,
    /// The service's own database: `sqlite://<file>?mode=rwc` or `postgres://user:password@host/name`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = setting::database_url())]
    pub database_url: Option<String>,
    /// How long inbox and outbox rows are kept, in seconds; at least as long as the streams keep messages.
    #[arg(long, env = "RETENTION_SECONDS", default_value_t = RETENTION_SECONDS,
        value_parser = setting::seconds())]
    pub retention_seconds: u64,
    /// How often old inbox and outbox rows are deleted, in seconds, and how long after the start for the first time.
    #[arg(long, env = "CLEANUP_SECONDS", default_value_t = CLEANUP_SECONDS, value_parser = setting::seconds())]
    pub cleanup_seconds: u64,
    /// How often a message may fail before it becomes a dead letter. A delivery that did not fail does not count.
    #[arg(long, env = "MAX_ATTEMPTS", default_value_t = MAX_ATTEMPTS, value_parser = setting::number(1..=1000))]
    pub max_attempts: u64,
}

impl Default for ServiceOptions {
    /// Returns the defaults of the command line; no environment variable is read.
    fn default() -> Self {
        Self {
            nats: NatsOptions::default(),
            durability: DurabilityOptions::default(),
            #[cfg(feature = "http")]
            http: HttpOptions::default(),
            storage: StorageOptions::default(),
            database_url: None,
            retention_seconds: RETENTION_SECONDS,
            cleanup_seconds: CLEANUP_SECONDS,
            max_attempts: MAX_ATTEMPTS,
        }
    }
}

impl ServiceOptions {
    pub(super) fn retention(&self) -> Duration {
        // Without the command line, nothing has checked it.
        Duration::from_secs(self.retention_seconds.min(setting::MAX_SECONDS))
    }

    /// Returns the URL of the database: as configured, or an SQLite file named after the service in `data/`.
    #[must_use]
    pub fn database_url(&self, service: &str) -> String {
        self.database_url.clone().unwrap_or_else(|| format!("sqlite://data/{service}.sqlite?mode=rwc"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        service: ServiceOptions,
    }

    #[test]
    fn options_are_the_same_by_default_with_and_without_a_command_line() {
        let parsed = Program::parse_from(["program"]).service;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", ServiceOptions::default()));
    }
}
