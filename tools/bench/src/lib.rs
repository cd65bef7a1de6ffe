//! Benchmarks of the shop, each against a baseline of the broker or the database.
//!
//! Absolute figures depend on the machine more than on the program. So each is measured in turn with a *baseline* in
//! the same run: the same messages on the same broker, through processes that do nothing else; or the same rows in the
//! same tables. The baseline is an upper bound for the shop. A second baseline, *bare*, has messages of its own that never
//! change: a ratio to it also shows what fatter messages cost.
//!
//! In reading order:
//!
//! - [`options`]: the command line;
//! - [`stage`]: the shop under measurement; [`seeding`]: its products and accounts; [`orders`]: its orders;
//! - [`sample`]: the messages of one real order; [`baseline`]: the broker-only baseline that replays them; [`bare`]:
//!   the fixed one;
//! - [`drive`]: closed-loop load on the stream; [`pipeline`]: pipelined publishing; [`ledger`]: completed orders;
//! - [`closed`] and [`paced`]: closed-loop and open-loop load through the gateway; [`http`]: its client; [`pacer`]:
//!   its timer; [`broker`]: the latency of the broker alone; [`trivial`]: a server that measures the cost of the load;
//! - [`throughput`], [`latency`], [`saturate`], [`contention`], [`growth`], [`recovery`], [`idle`], [`baseline_sql`],
//!   [`histories`], [`projections`] with its service [`recount`]:
//!   the benchmarks; [`run`] dispatches to them;
//! - [`usage`]: CPU and memory; [`latencies`]: histograms; [`statistics`]: the arithmetic; [`report`]: tables, JSON,
//!   and plots.

pub mod bare;
pub mod baseline;
pub mod baseline_sql;
pub mod broker;
pub mod chain;
pub mod closed;
pub mod contention;
pub mod drive;
pub mod growth;
pub mod histories;
pub mod http;
pub mod idle;
pub mod latencies;
pub mod latency;
pub mod ledger;
pub mod options;
pub mod orders;
pub mod paced;
pub mod pacer;
pub mod pipeline;
pub mod projections;
pub mod recount;
pub mod recovery;
pub mod report;
pub mod run;
pub mod sample;
pub mod saturate;
pub mod seeding;
pub mod stage;
pub mod statistics;
pub mod throughput;
pub mod trivial;
pub mod usage;

pub use options::Options;
