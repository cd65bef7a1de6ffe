//! What the payment service promises.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod asking;
mod crashes;
mod database;
mod decisions;
mod given;
mod outcomes;
mod properties;
mod provider;
mod rebuilding;
mod slices;
mod store;
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
