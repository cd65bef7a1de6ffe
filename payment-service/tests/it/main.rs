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
