//! A service as a process: start, upkeep, HTTP, shutdown.

pub mod builder;
pub mod listener;
pub mod migration;
pub mod probes;
pub mod process;
pub(crate) mod retention;
pub(crate) mod scrape;
pub mod service;
pub(crate) mod shutdown;
