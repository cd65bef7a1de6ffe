//! What the shop reaches, measured against what the broker and the database can do at all.
//!
//! Absolute figures say more about the machine than about the program, so each is measured beside a *floor*, in the
//! same run and in turn with it: the same messages on the same broker, moved by processes that do nothing else; and
//! the same rows in the same tables.
//!
//! In reading order:
//!
//! - [`options`]: the command line;
//! - [`stage`]: the shop under measurement; [`seeding`]: what is in it; [`orders`]: what is ordered;
//! - [`sample`]: the messages of one real order, from which the baseline is made; [`baseline`] moves them;
//! - [`drive`]: orders straight into the stream; [`pipeline`]: publishing without waiting; [`ledger`]: which orders have
//!   come to their end;
//! - [`closed`] and [`paced`]: orders through the gateway, as fast as it answers and at a fixed rate; [`http`]: how;
//!   [`pacer`]: when; [`broker`]: what the broker takes for one message; [`trivial`]: what the load itself costs;
//! - [`throughput`], [`latency`], [`saturate`], [`contention`], [`growth`], [`recovery`], [`idle`], [`baseline_sql`]: what is
//!   measured; [`run`] chooses;
//! - [`usage`]: CPU and memory; [`latencies`]: histograms; [`statistics`]: the arithmetic; [`report`]: tables, JSON, and plots.

pub mod baseline;
pub mod baseline_sql;
pub mod broker;
pub mod closed;
pub mod contention;
pub mod drive;
pub mod growth;
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
