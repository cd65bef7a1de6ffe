//! The guarantees of the account service.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod database;
mod decisions;
mod given;
mod properties;
mod queries;
mod service;
mod storage;

/// Runs each test on SQLite and on PostgreSQL.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::database::Engine::Sqlite).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::database::Engine::Postgres).await;
            })+
        }
    };
}

pub(crate) use on_both_databases;
