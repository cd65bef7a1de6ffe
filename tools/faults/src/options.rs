//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::breaking::Kind;

/// Injects faults into the shop under load, clears them, and checks that no message was lost and no effect happened
/// twice. Ends with status 1 and keeps the data folder if an invariant is violated.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Options {
    /// The seed of all random choices; the default is random and printed.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long faults are injected, in minutes.
    #[arg(long, default_value_t = 3.0)]
    pub minutes: f64,
    /// The database engine of the services.
    #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
    pub database: Engine,
    /// The number of nats-servers: 1, or a cluster of 3 with every stream on each.
    #[arg(long, default_value_t = 1, value_parser = servers)]
    pub servers: usize,
    /// The number of customer actions per second.
    #[arg(long, default_value_t = 20.0)]
    pub rate: f64,
    /// The kinds of faults; the default is all that the machine allows.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// The maximum pause between two faults, in seconds.
    #[arg(long, default_value_t = 6.0)]
    pub pause: f64,
    /// The folder of streams, databases, logs, and the history; the default is `data/faults-<seed>`.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Keeps the data folder even if all invariants hold.
    #[arg(long)]
    pub keep: bool,
}

/// The database engine of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// One SQLite file per service.
    Sqlite,
    /// One PostgreSQL database per service, all on one server.
    Postgres,
}

impl Options {
    /// Returns how long faults are injected.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::try_from_secs_f64(self.minutes * 60.0).unwrap_or(Duration::from_secs(180))
    }
}

fn servers(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("must be 1 or 3".to_owned()),
    }
}
