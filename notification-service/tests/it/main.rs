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
