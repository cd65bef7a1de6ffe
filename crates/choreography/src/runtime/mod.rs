//! A service as a process: start, upkeep, HTTP, shutdown.

pub mod builder;
#[cfg(feature = "http")]
pub mod listener;
pub mod migration;
pub(crate) mod needs;
pub(crate) mod options;
#[cfg(feature = "http")]
pub mod probes;
pub mod process;
pub(crate) mod projecting;
pub(crate) mod retention;
#[cfg(all(feature = "http", feature = "metrics"))]
pub(crate) mod scrape;
pub mod service;
pub(crate) mod shutdown;
pub(crate) mod web;
