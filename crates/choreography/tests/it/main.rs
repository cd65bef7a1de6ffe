//! The guarantees of the library, on a real nats-server and on both databases.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod batches;
mod builder;
mod certificates;
mod checks;
mod cluster;
mod connection;
mod counter;
mod credentials;
mod deadlines;
mod delivery;
mod documents;
mod envelope;
mod environment;
mod faults;
mod frozen;
mod https;
mod listener;
mod loss;
mod messages;
mod migrations;
mod outages;
mod outbox;
mod projection;
mod redrive;
mod republish;
mod shutdown;
mod snapshots;
mod storage;
mod store;
mod support;
mod trace;
mod tracked;
mod versions;

pub(crate) use choreography_test::on_both_databases;
