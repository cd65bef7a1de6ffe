//! The guarantees of the notification service.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod database;
mod given;
mod live;
mod mailing;
mod properties;
mod queries;
mod recording;
mod service;
mod smtp;
mod texts;

pub(crate) use choreography_test::on_both_databases;
