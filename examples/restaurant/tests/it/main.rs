//! The restaurants: decisions without a broker, and the whole system on real servers.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod decisions;
mod declarations;
mod program;
mod race;
mod support;
mod system;
mod time_travel;

/// Runs each test on SQLite and on PostgreSQL.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::support::Engine::Sqlite).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::support::Engine::Postgres).await;
            })+
        }
    };
}

pub(crate) use on_both_databases;
