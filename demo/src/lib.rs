//! The whole store on one machine, as a program and as a library for whoever tests or measures it.
//!
//! In reading order: [`cli`] is the command line, [`up`] what happens without a subcommand; [`shop`] starts and
//! breaks the processes of [`component`] with what [`config`] says; [`provision`] makes the streams; [`control`] hears
//! a second terminal and the page in the browser, and `supervisor` does what they ask, with [`network`], which is made of
//! the proxies of [`proxy`], and [`redelivery`]; [`feed`] and [`screen`] show what happens, `desktop` opens the
//! page, [`ports`] says who is in the way, and [`healthcheck`] asks a service how it is.

pub mod cli;
pub mod component;
pub mod config;
pub mod control;
mod desktop;
pub mod feed;
pub mod healthcheck;
pub mod network;
pub mod ports;
pub mod provision;
pub mod proxy;
pub mod redelivery;
pub mod screen;
pub mod shop;
mod supervisor;
pub mod up;

pub use component::Component;
pub use config::{Cluster, Databases, ServerPorts, ShopConfig};
pub use shop::{ComponentStatus, OnLine, Shop, State};
