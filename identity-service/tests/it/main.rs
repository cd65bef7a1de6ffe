//! The guarantees of the identity service.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod decisions;
mod keys;
mod passwords;
mod secrets;
mod sessions;
mod support;
mod users;

pub(crate) use choreography_test::on_both_databases;
