//! The whole store on one machine, as a program and as a library for whoever tests or measures it.
//!
//! In reading order: [`cli`] is the command line, [`up`] what happens without a subcommand; [`store`] starts and
//! breaks the processes of [`member`] with what [`config`] says; [`provision`] makes the streams; [`control`] hears
//! a second terminal and the page in the browser, and `keeper` does what they ask, with [`network`], which is made of
//! the proxies of [`proxy`], and [`redelivery`]; [`feed`] and [`screen`] show what happens, `desktop` opens the
//! page, [`ports`] says who is in the way, and [`healthcheck`] asks a service how it is.

pub mod cli;
pub mod config;
pub mod control;
mod desktop;
pub mod feed;
pub mod healthcheck;
mod keeper;
pub mod member;
pub mod network;
pub mod ports;
pub mod provision;
pub mod proxy;
pub mod redelivery;
pub mod screen;
pub mod store;
pub mod up;

pub use config::{Cluster, Databases, ServerPorts, StoreConfig};
pub use member::Member;
pub use store::{MemberStatus, OnLine, State, Store};
