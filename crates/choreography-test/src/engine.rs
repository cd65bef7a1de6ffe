//! The same tests on both databases.

/// The database of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// Runs each test, an `async fn` with an [`Engine`] as its argument, on SQLite and on PostgreSQL. Needs the crate `tokio`.
///
/// ```
/// use choreography_test::{Engine, on_both_databases};
///
/// on_both_databases!(a_row_is_read_as_it_was_written);
///
/// async fn a_row_is_read_as_it_was_written(engine: Engine) {
///     // …
/// #   let _ = engine;
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::Engine::Sqlite).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::Engine::Postgres).await;
            })+
        }
    };
}
