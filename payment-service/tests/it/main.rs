//! The guarantees of the payment service.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod capturing;
mod crashes;
mod database;
mod decisions;
mod fixture;
mod given;
mod outcomes;
mod properties;
mod provider;
mod rebuilding;
mod units_of_work;
mod waits;

pub(crate) use choreography_test::on_both_databases;
