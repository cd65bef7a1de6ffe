//! Connections to SQLite: durability, caches, and which of them return to the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::ConnectOptions;
use sea_orm::sqlx::{self, Connection, SqliteConnection};

use super::SYNC_COMMITS;
use crate::state::statement::PREPARED;

/// Configures the connections to SQLite; new ones sync each commit if `synced` is set.
pub(super) fn configure(options: &mut ConnectOptions, synced: Arc<AtomicBool>) {
    options
        .map_sqlx_sqlite_pool_opts(move |options| {
            let synced = synced.clone();
            options
                .after_connect(move |connection, _| {
                    let synced = synced.load(Ordering::Relaxed);
                    Box::pin(async move {
                        if synced {
                            sqlx::raw_sql(SYNC_COMMITS).execute(connection).await?;
                        }
                        Ok(())
                    })
                })
                .after_release(|connection, _| Box::pin(is_usable(connection)))
        })
        .map_sqlx_sqlite_opts(|options| {
            options
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "NORMAL")
                // In pages of 4 KiB. A page that many batches change is copied into the database once for all of them.
                .pragma("wal_autocheckpoint", "8000")
                // In KiB, per connection.
                .pragma("cache_size", "-4000")
                // For statement journals; otherwise SQLite uses temporary files.
                .pragma("temp_store", "MEMORY")
                .busy_timeout(Duration::from_secs(5))
                .statement_cache_capacity(PREPARED)
        });
}

/// Returns whether a connection may go back to the pool.
async fn is_usable(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // The rollback of a dropped transaction is queued; a ping returns after it was attempted.
        connection.ping().await?;
    }
    // On a full disk SQLite rolls back by itself, and the queued rollback fails. sqlx would then count an open
    // transaction forever, nest later ones in it, and never end them.
    Ok(!connection.is_in_transaction())
}
