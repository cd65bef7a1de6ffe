//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::stage::{Chain, Engine, SyncMode};

/// Measures the shop against what the broker and the database can do at all, in the same run on the same machine.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "bench", version)]
pub struct Options {
    /// What is measured.
    #[command(subcommand)]
    pub command: Command,
    /// Writes the results as JSON, too.
    #[arg(long, global = true)]
    pub json: Option<PathBuf>,
    /// Writes the results as a plot, too.
    #[arg(long, global = true)]
    pub svg: Option<PathBuf>,
}

/// What is measured.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// The broker alone: an order's messages through processes that only pull, publish, and acknowledge.
    Baseline {
        /// The shop whose messages they are.
        #[command(flatten)]
        setting: Setting,
        /// For how long.
        #[command(flatten)]
        span: Span,
    },
    /// The database alone: group commit with the tables of the order service.
    BaselineSql {
        /// Where the rows go.
        #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
        database: Engine,
        /// Messages in a transaction.
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=256))]
        batch: u64,
        /// For how long.
        #[command(flatten)]
        span: Span,
    },
    /// Orders from the acknowledged command to the final state, in turn with the baseline.
    Throughput {
        /// The shop that is measured.
        #[command(flatten)]
        setting: Setting,
        /// For how long.
        #[command(flatten)]
        span: Span,
        /// How commands get into the stream.
        #[arg(long, value_enum, default_value_t = Via::Stream)]
        via: Via,
        /// Connections to the gateway, each with one request at a time.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
        connections: u64,
        /// Measures the shop without the baseline.
        #[arg(long)]
        no_baseline: bool,
    },
    /// Orders at a fixed rate, whatever becomes of them: how long until accepted, and until final.
    Latency {
        /// The shop that is measured.
        #[command(flatten)]
        setting: Setting,
        /// For how long.
        #[command(flatten)]
        span: Span,
        /// Orders per second.
        #[arg(long, default_value_t = 1000.0)]
        rate: f64,
        /// Connections to the gateway.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
        connections: u64,
    },
    /// `POST /orders` until it is accepted, as fast as the gateway answers.
    SaturateHttp {
        /// The shop that is measured.
        #[command(flatten)]
        setting: Setting,
        /// For how long.
        #[command(flatten)]
        span: Span,
        /// Connections to the gateway, each with one request at a time.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
        connections: u64,
    },
    /// All orders on one product, many lines in an order, each command ten times: each against orders that are spread.
    Contention {
        /// The shop that is measured.
        #[command(flatten)]
        setting: Setting,
        /// For how long.
        #[command(flatten)]
        span: Span,
    },
    /// The rate and the memory once there are many orders already.
    Growth {
        /// The shop that is measured.
        #[command(flatten)]
        setting: Setting,
        /// For how long, at each size.
        #[command(flatten)]
        span: Span,
        /// The sizes at which it is measured, in orders.
        #[arg(long, value_delimiter = ',', default_value = "100000,1000000")]
        sizes: Vec<u64>,
    },
    /// A service is off while orders pile up: how long it takes to catch up, and how new orders fare meanwhile.
    Recovery {
        /// The shop that is measured.
        #[command(flatten)]
        setting: Setting,
        /// The service that is off.
        #[arg(long, default_value = "inventory-service")]
        off: demo::Component,
        /// How many orders pile up.
        #[arg(long, default_value_t = 100_000)]
        orders: u64,
        /// New orders per second, meanwhile.
        #[arg(long, default_value_t = 100.0)]
        rate: f64,
    },
    /// The start, and the CPU of a shop in which nothing happens.
    Idle {
        /// Where the services keep their state.
        #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
        database: Engine,
        /// How long to watch, in seconds.
        #[arg(long, default_value_t = 20.0)]
        seconds: f64,
    },
}

/// How commands get into the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// Published by the benchmark, in the gateway's name.
    Stream,
    /// `POST /orders`.
    Http,
}

/// The shop that is measured, and what is ordered.
#[derive(Debug, Clone, clap::Args)]
pub struct Setting {
    /// How far an order goes: to its stock (the other services are off), or to the end.
    #[arg(long, value_enum, default_value_t = Chain::Whole)]
    pub chain: Chain,
    /// Where the services keep their state.
    #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
    pub database: Engine,
    /// When the broker syncs.
    #[arg(long, value_enum, default_value_t = SyncMode::Default)]
    pub sync: SyncMode,
    /// The baseline, and whoever publishes commands straight into the stream, use atomic batches.
    #[arg(long)]
    pub atomic: bool,
    /// Who orders: so many, in turn.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub customers: u64,
    /// What is ordered: one of so many, in turn.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub products: u64,
    /// Lines in an order.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub lines: u64,
    /// Orders on their way at a time, where there is no fixed rate.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub window: u64,
    /// Processes of each service that messages go through; more than one needs PostgreSQL.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=8))]
    pub instances: u64,
    /// Leaves the limits of streams and backlog as they are shipped; without it they are lifted.
    #[arg(long)]
    pub shipped_limits: bool,
    /// Another build of the shop, such as an earlier one: a program that has the services as subcommands.
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// Where streams, databases, and logs are kept while it is measured.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Keeps that folder.
    #[arg(long)]
    pub keep: bool,
}

/// For how long something is measured.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Span {
    /// Before anything is measured, in seconds.
    #[arg(long, default_value_t = 3.0)]
    pub warm_up: f64,
    /// In seconds.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// How often in turn; the medians count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub rounds: u64,
}

impl Span {
    /// Returns how long nothing is measured yet.
    #[must_use]
    pub fn warm_up(&self) -> Duration {
        seconds(self.warm_up)
    }

    /// Returns for how long it is measured.
    #[must_use]
    pub fn length(&self) -> Duration {
        seconds(self.seconds)
    }
}

/// Returns a length of time; none for what is no number.
#[must_use]
pub fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
