//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::chain::{Chain, Engine, SyncMode};

/// Measures the shop against baselines of the broker and the database, in the same run on the same machine.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "bench", version)]
pub struct Options {
    /// The benchmark.
    #[command(subcommand)]
    pub command: Command,
    /// Also writes the results to this file as JSON.
    #[arg(long, global = true)]
    pub json: Option<PathBuf>,
    /// Also writes the results to this file as a plot (SVG).
    #[arg(long, global = true)]
    pub svg: Option<PathBuf>,
}

/// The benchmarks.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// The broker alone: the messages of orders through processes that only pull, publish, and acknowledge.
    Baseline {
        /// The shop whose messages are replayed.
        #[command(flatten)]
        setting: Setting,
        /// The duration.
        #[command(flatten)]
        span: Span,
    },
    /// The database alone: group commit with the tables of the order service.
    BaselineSql {
        /// The database.
        #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
        database: Engine,
        /// The number of messages per transaction.
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=256))]
        batch: u64,
        /// The duration.
        #[command(flatten)]
        span: Span,
    },
    /// Orders from the acknowledged command to the final state, in turn with the baselines.
    Throughput {
        /// The shop.
        #[command(flatten)]
        setting: Setting,
        /// The duration.
        #[command(flatten)]
        span: Span,
        /// How commands are published.
        #[arg(long, value_enum, default_value_t = Via::Stream)]
        via: Via,
        /// The number of connections to the gateway, each with one request at a time.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
        connections: u64,
        /// Measures the shop without the baselines.
        #[arg(long)]
        no_baseline: bool,
    },
    /// The latency of orders at a fixed rate (open loop), until accepted and until completed.
    Latency {
        /// The shop.
        #[command(flatten)]
        setting: Setting,
        /// The duration.
        #[command(flatten)]
        span: Span,
        /// The rate in orders per second.
        #[arg(long, default_value_t = 1000.0)]
        rate: f64,
        /// The number of connections to the gateway.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
        connections: u64,
    },
    /// `POST /orders` until accepted, as fast as the gateway responds (closed loop).
    SaturateHttp {
        /// The shop.
        #[command(flatten)]
        setting: Setting,
        /// The duration.
        #[command(flatten)]
        span: Span,
        /// The number of connections to the gateway, each with one request at a time.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
        connections: u64,
    },
    /// Contention: all orders for one product, orders of many lines, and each command ten times; each against spread
    /// orders.
    Contention {
        /// The shop.
        #[command(flatten)]
        setting: Setting,
        /// The duration.
        #[command(flatten)]
        span: Span,
    },
    /// The rate and the memory as the number of stored orders grows.
    Growth {
        /// The shop.
        #[command(flatten)]
        setting: Setting,
        /// The duration at each size.
        #[command(flatten)]
        span: Span,
        /// The sizes at which to measure, in orders.
        #[arg(long, value_delimiter = ',', default_value = "100000,1000000")]
        sizes: Vec<u64>,
    },
    /// The cost of a message to an event-sourced aggregate, by the length of its history, without and with snapshots.
    Histories {
        /// The database.
        #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
        database: Engine,
        /// The lengths of the histories, in events.
        #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000")]
        lengths: Vec<u64>,
        /// The number of rounds; the report has their medians.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
        rounds: u64,
    },
    /// The recovery of a service from a backlog: the time to drain it, and the latency of new orders meanwhile.
    Recovery {
        /// The shop.
        #[command(flatten)]
        setting: Setting,
        /// The service that is stopped while the backlog grows.
        #[arg(long, default_value = "inventory-service")]
        off: demo::Component,
        /// The backlog in orders.
        #[arg(long, default_value_t = 100_000)]
        orders: u64,
        /// The rate of new orders per second, before and during the recovery.
        #[arg(long, default_value_t = 100.0)]
        rate: f64,
    },
    /// A new projection of a running shop: the time to catch up with the complete history under load, while its process
    /// is killed, and the same for a second version. Each must equal a recount from the event store.
    Projections {
        /// The shop.
        #[command(flatten)]
        setting: Setting,
        /// The history in orders.
        #[arg(long, default_value_t = 100_000)]
        orders: u64,
        /// The rate of new orders per second meanwhile.
        #[arg(long, default_value_t = 200.0)]
        rate: f64,
        /// How often each version is killed on its way.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=100))]
        kills: u64,
    },
    /// The start-up time, and the CPU and memory usage of an idle shop.
    Idle {
        /// The database of each service.
        #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
        database: Engine,
        /// The measured time in seconds.
        #[arg(long, default_value_t = 20.0)]
        seconds: f64,
    },
}

/// How commands are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// By the benchmark itself, as the gateway's user.
    Stream,
    /// By the gateway, with `POST /orders`.
    Http,
}

/// The shop and its orders.
#[derive(Debug, Clone, clap::Args)]
pub struct Setting {
    /// The last step of an order: the reservation of stock (other services are stopped), or the confirmation.
    #[arg(long, value_enum, default_value_t = Chain::Whole)]
    pub chain: Chain,
    /// The database of each service.
    #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
    pub database: Engine,
    /// When the broker syncs its files.
    #[arg(long, value_enum, default_value_t = SyncMode::Default)]
    pub sync: SyncMode,
    /// The baseline, and the benchmark if it publishes commands itself, use atomic batches.
    #[arg(long)]
    pub atomic: bool,
    /// The number of customers, who order in turn.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub customers: u64,
    /// The number of products, which are ordered in turn.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub products: u64,
    /// The number of lines per order.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub lines: u64,
    /// The number of orders in flight, if there is no fixed rate.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub window: u64,
    /// The number of instances of each service that handles orders; more than one needs PostgreSQL.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=8))]
    pub instances: u64,
    /// Keeps the shipped limits of streams and backlog, which are lifted otherwise.
    #[arg(long)]
    pub shipped_limits: bool,
    /// Another build of the shop, such as an earlier one: a program with the services as subcommands.
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// The folder of streams, databases, and logs; it must be empty or absent.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Keeps this folder afterwards.
    #[arg(long)]
    pub keep: bool,
}

/// The duration of a benchmark.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Span {
    /// The warm-up before each measurement, in seconds.
    #[arg(long, default_value_t = 3.0)]
    pub warm_up: f64,
    /// The measured time, in seconds.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// The number of rounds; the report has their medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub rounds: u64,
}

impl Span {
    /// Returns the warm-up.
    #[must_use]
    pub fn warm_up(&self) -> Duration {
        seconds(self.warm_up)
    }

    /// Returns the measured time.
    #[must_use]
    pub fn length(&self) -> Duration {
        seconds(self.seconds)
    }
}

/// Returns a duration; zero for a negative or invalid number.
#[must_use]
pub fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
