//! A database for tests.

use anyhow::Context;
use sea_orm::{ConnectOptions, Database, DatabaseConnection};
use sea_orm_migration::MigratorTrait;

use crate::state::migrator::migrate;
use crate::state::statement::PREPARED;

/// Opens an SQLite database in memory and creates its tables. It has one connection, and exists as long as that.
///
/// # Errors
///
/// If a migration fails.
pub async fn sqlite_in_memory<M: MigratorTrait>() -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new("sqlite::memory:");
    options
        .max_connections(1)
        .sqlx_logging(false)
        .map_sqlx_sqlite_pool_opts(|options| options.idle_timeout(None).max_lifetime(None))
        .map_sqlx_sqlite_opts(|options| options.statement_cache_capacity(PREPARED));
    let db = Database::connect(options).await.context("opening an SQLite database in memory")?;
    migrate::<M>(&db, "the SQLite database in memory").await?;
    Ok(db)
}
