//! The whole shop on one machine, as a program, and as a library for tests and benchmarks.
//!
//! In reading order:
//!
//! - [`cli`]: the command line; [`up`]: the demo, which runs without a subcommand;
//! - [`shop`]: starts, kills, stops, and pauses the processes of [`component`], as configured in [`config`];
//! - [`provision`]: creates streams and consumers; [`declarations`]: the users of `nats.conf`; [`nkeys`]: their NKeys;
//! - [`control`]: accepts control requests from a second terminal and from the dashboard; `supervisor` executes them,
//!   with [`network`], the proxies of [`proxy`], and [`redelivery`];
//! - [`feed`] and [`screen`]: the output on the terminal; `desktop`: opens the dashboard;
//! - [`ports`]: reports ports in use; [`healthcheck`]: checks one service.

pub mod cli;
pub mod component;
pub mod config;
pub mod control;
pub mod declarations;
mod desktop;
pub mod feed;
pub mod healthcheck;
pub mod network;
pub mod nkeys;
pub mod ports;
pub mod provision;
pub mod proxy;
pub mod redelivery;
pub mod screen;
pub mod shop;
mod supervisor;
pub mod up;

pub use component::Component;
pub use config::{Cluster, Databases, Secrets, ServerPorts, ShopConfig};
pub use shop::{ComponentStatus, OnLine, Shop, State};
