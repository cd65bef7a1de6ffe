//! The guarantees of the identity service.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod decisions;
mod keys;
mod passwords;
mod secrets;
mod sessions;
mod support;
mod users;

/// Runs each test on SQLite and on PostgreSQL.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::support::Engine::Sqlite).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::support::Engine::Postgres).await;
            })+
        }
    };
}

pub(crate) use on_both_databases;
