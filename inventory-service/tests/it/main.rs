//! The guarantees of the inventory service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod clock;
mod database;
mod given;
mod http;
mod properties;
mod queries;
mod reserving;
mod service;
mod units_of_work;

pub(crate) use choreography_test::on_both_databases;
