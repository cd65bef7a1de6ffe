//! The restaurants: decisions without a broker, and the whole system on real servers.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod decisions;
mod declarations;
mod program;
mod race;
mod support;
mod system;
mod time_travel;

pub(crate) use choreography_test::on_both_databases;
