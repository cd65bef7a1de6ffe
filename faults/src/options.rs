//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use crate::breaking::Kind;

/// Runs the whole store under load, breaks its parts, heals them, and checks that nothing was lost and nothing happened
/// twice. Ends with 1 where something does not hold, and keeps the data folder.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Options {
    /// What everything random derives from; a fresh one unless given, and printed.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long parts are broken, in minutes.
    #[arg(long, default_value_t = 3.0)]
    pub minutes: f64,
    /// Where the services keep their state.
    #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
    pub database: Engine,
    /// How many nats-servers there are: one, or a cluster of three with every stream on each.
    #[arg(long, default_value_t = 1, value_parser = servers)]
    pub servers: usize,
    /// What customers do, per second.
    #[arg(long, default_value_t = 20.0)]
    pub rate: f64,
    /// Only these kinds of faults; all that the machine allows unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// The longest pause between two faults, in seconds.
    #[arg(long, default_value_t = 6.0)]
    pub pause: f64,
    /// Where streams, databases, logs, and the history are kept; `data/faults-<seed>` unless given.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Keeps the data folder although everything holds.
    #[arg(long)]
    pub keep: bool,
}

/// Where the services keep their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// An SQLite file a service.
    Sqlite,
    /// A PostgreSQL database a service, all on one server.
    Postgres,
}

impl Options {
    /// Returns how long parts are broken.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::try_from_secs_f64(self.minutes * 60.0).unwrap_or(Duration::from_secs(180))
    }
}

fn servers(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("it is 1 or 3".to_owned()),
    }
}

/// What random numbers are for: each purpose has a stream of its own, so that one does not shift another.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// What customers do.
    Load,
    /// What is broken when.
    Faults,
    /// Which messages are said again.
    Republish,
    /// When first starts are killed.
    FirstStart,
    /// When the starts of an upgrade are killed.
    Upgrade,
}

/// Returns the random numbers of a seed for a purpose.
#[must_use]
pub fn random(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(purpose as u64);
    random
}
