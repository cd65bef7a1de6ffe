//! The guarantees of the account service.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod database;
mod decisions;
mod given;
mod properties;
mod queries;
mod service;
mod storage;

pub(crate) use choreography_test::on_both_databases;
