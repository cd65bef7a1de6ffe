//! Sessions of PostgreSQL: their limits, and which of them return to the pool.

use std::time::Duration;

use sea_orm::ConnectOptions;
use sea_orm::sqlx::{self, Connection, PgConnection};
use tokio::time::timeout;

use crate::state::statement::PREPARED;

/// How long a released connection may take to receive the rest of an abandoned result.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// Limits on waiting for a lock and on an idle transaction. Like those on statements, they are below the ack-wait.
const LOCK_TIMEOUT_MS: u32 = 3_000;
const IDLE_IN_TRANSACTION_TIMEOUT_MS: u32 = 8_000;

/// Configures the connections to PostgreSQL.
pub(super) fn configure(options: &mut ConnectOptions, statement_timeout_ms: u32) {
    options
        .map_sqlx_postgres_pool_opts(move |options| {
            options
                .after_connect(move |connection, _| {
                    Box::pin(async move { limit_session(connection, statement_timeout_ms).await })
                })
                .after_release(|connection, _| Box::pin(async move { Ok(is_usable(connection).await) }))
        })
        .map_sqlx_postgres_opts(|options| options.statement_cache_capacity(PREPARED));
}

/// Sets the limits of a session. As statements they override the URL's options and the settings of the database or the
/// role.
async fn limit_session(connection: &mut PgConnection, statement_timeout_ms: u32) -> Result<(), sqlx::Error> {
    let limits = format!(
        "SET statement_timeout = {statement_timeout_ms}; SET lock_timeout = {LOCK_TIMEOUT_MS}; \
         SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_TIMEOUT_MS}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(limits)).execute(connection).await.map(drop)
}

/// Returns whether a connection may go back to the pool.
///
/// A transaction that was dropped without commit or rollback has failed with its database: its session may be read-only
/// after a fail-over, or frozen, and its rollback is not sent yet. Closing the connection rolls it back, and the next
/// transaction begins on a new one. The same applies to a session that has not yet received the result of a dropped
/// query. sqlx would wait for it without a limit, and the pool would be one connection short.
async fn is_usable(connection: &mut PgConnection) -> bool {
    !connection.should_flush() && matches!(timeout(RELEASE_TIMEOUT, connection.flush()).await, Ok(Ok(())))
}
