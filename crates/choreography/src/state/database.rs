//! The database of a service: SQLite by default, PostgreSQL by URL.

mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use sea_orm::sqlx::{self, Connection, PgConnection, SqliteConnection};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr};
use sea_orm_migration::MigratorTrait;
use tokio::time::timeout;

use crate::setting::{check_database_url, redacted};
use crate::state::fault;
use crate::state::migrator::migrate;
use crate::state::statement::PREPARED;
pub use watch::Watch;

/// How long a transaction waits for a connection. Together with the delay between two attempts it is shorter than the
/// ack-wait of the consumers (10 s): a batch that waits for its database reports progress before it is redelivered.
const ACQUIRE: Duration = Duration::from_secs(4);
/// The maximum number of connections per pool.
const CONNECTIONS: u32 = 8;
/// The number of PostgreSQL connections for writers, and for readers; together as many as one pool has.
const WRITERS: u32 = CONNECTIONS / 2;
/// The age at which a connection is replaced, so that changed settings of the database or the role take effect.
const MAX_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// The time limit of a unit of work, including the wait for a connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a released connection may take to receive the rest of an abandoned result.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Limits that PostgreSQL enforces on the sessions of a service, in milliseconds. They are below the ack-wait (10 s): a
/// stuck transaction must end before its messages are redelivered to another instance, which would wait for its locks.
const WRITE_TIMEOUT_MS: u32 = 5_000;
/// Reads may take longer: sums over whole tables. Below [`ANSWER_TIMEOUT`], when the caller stops waiting.
const READ_TIMEOUT_MS: u32 = 9_000;
const LOCK_TIMEOUT_MS: u32 = 3_000;
const IDLE_IN_TRANSACTION_TIMEOUT_MS: u32 = 8_000;

/// The connection pools of a service's database.
#[derive(Debug, Clone)]
pub struct Databases {
    /// For all writes. SQLite has one connection: its writers take turns anyway, and a write invalidates the caches of
    /// the other connections.
    pub writer: DatabaseConnection,
    /// For all reads; never waits for a writer, and never takes a connection from one.
    pub reader: DatabaseConnection,
    /// Whether SQLite syncs each commit.
    synced: Arc<AtomicBool>,
}

impl Databases {
    /// Opens the database of a service and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// As for [`open`].
    pub async fn open<M: MigratorTrait>(url: &str) -> anyhow::Result<Self> {
        let synced = Arc::new(AtomicBool::new(false));
        let writers = if url.starts_with("sqlite:") { 1 } else { WRITERS };
        let writer = connect(url, writers, WRITE_TIMEOUT_MS, &synced).await?;
        migrate::<M>(&writer, &redacted(url)).await?;
        let readers = CONNECTIONS - if url.starts_with("sqlite:") { 0 } else { WRITERS };
        Ok(Self { writer, reader: connect(url, readers, READ_TIMEOUT_MS, &synced).await?, synced })
    }

    /// Makes every commit survive a power cut. PostgreSQL does so unless configured otherwise; SQLite syncs its
    /// write-ahead log with each commit from now on.
    ///
    /// # Errors
    ///
    /// The database's error.
    pub(crate) async fn sync_commits(&self) -> Result<(), DbErr> {
        if self.writer.get_database_backend() == DbBackend::Sqlite {
            // For connections that replace this one.
            self.synced.store(true, Ordering::Relaxed);
            answered(self.writer.execute_unprepared(SYNC_COMMITS)).await?;
        }
        Ok(())
    }

    pub(crate) async fn close(&self) -> Result<(), DbErr> {
        tokio::try_join!(self.writer.close_by_ref(), self.reader.close_by_ref()).map(drop)
    }
}

impl From<DatabaseConnection> for Databases {
    fn from(db: DatabaseConnection) -> Self {
        Self { writer: db.clone(), reader: db, synced: Arc::default() }
    }
}

/// Opens a database with one pool for reads and writes, and brings its tables up to date.
///
/// `sqlite://<path>?mode=rwc` (a file; `WAL`) or `postgres://…`. A killed process loses nothing. With
/// `synchronous=NORMAL`, SQLite may lose the last transactions in a power cut, including those of acknowledged
/// messages, which are never redelivered. A [`Service`](crate::Service) whose streams sync each message uses
/// `synchronous=FULL`, which loses none.
///
/// PostgreSQL sessions have limits on statements, on waiting for locks, and on idle transactions. They override the
/// settings of the URL, the database, and the role.
///
/// # Errors
///
/// If the URL is invalid, the database does not respond within 10 s, or a migration fails or takes longer than 10
/// minutes.
pub async fn open<M: MigratorTrait>(url: &str) -> anyhow::Result<DatabaseConnection> {
    let db = connect(url, CONNECTIONS, READ_TIMEOUT_MS, &Arc::default()).await?;
    migrate::<M>(&db, &redacted(url)).await?;
    Ok(db)
}

/// SQLite syncs its write-ahead log with each commit.
const SYNC_COMMITS: &str = "PRAGMA synchronous = FULL";

async fn connect(
    url: &str,
    connections: u32,
    statement_timeout_ms: u32,
    synced: &Arc<AtomicBool>,
) -> anyhow::Result<DatabaseConnection> {
    let synced = synced.clone();
    check_database_url(url).map_err(|why| anyhow!("DATABASE_URL {why}"))?;
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .connect_timeout(Duration::from_secs(10))
        .acquire_timeout(ACQUIRE)
        .max_lifetime(MAX_LIFETIME)
        .test_before_acquire_if_idle_for(Duration::from_secs(1))
        .sqlx_logging(false)
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
                .after_release(|connection, _| Box::pin(is_usable_sqlite(connection)))
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
        })
        .map_sqlx_postgres_pool_opts(move |options| {
            options
                .after_connect(move |connection, _| {
                    Box::pin(async move { limit_session(connection, statement_timeout_ms).await })
                })
                .after_release(|connection, _| Box::pin(async move { Ok(is_usable_postgres(connection).await) }))
        })
        .map_sqlx_postgres_opts(|options| options.statement_cache_capacity(PREPARED));
    Database::connect(options).await.with_context(|| format!("opening the database {}", redacted(url)))
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
async fn is_usable_postgres(connection: &mut PgConnection) -> bool {
    !connection.should_flush() && matches!(timeout(RELEASE_TIMEOUT, connection.flush()).await, Ok(Ok(())))
}

async fn is_usable_sqlite(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // The rollback of a dropped transaction is queued; a ping returns after it was attempted.
        connection.ping().await?;
    }
    // On a full disk SQLite rolls back by itself, and the queued rollback fails. sqlx would then count an open
    // transaction forever, nest later ones in it, and never end them.
    Ok(!connection.is_in_transaction())
}

/// Awaits a unit of work on a database, for at most 10 s: a frozen session, or a half-open connection, never responds,
/// and its own limits do not apply.
///
/// At the limit the work is dropped. Its connection is closed, and uncommitted changes are rolled back.
///
/// # Errors
///
/// The error of the work, or that the database did not respond.
pub async fn answered<T, E: From<DbErr>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    answered_within(ANSWER_TIMEOUT, work).await
}

/// As [`answered`], with the caller's limit.
pub(crate) async fn answered_within<T, E: From<DbErr>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(fault::no_answer(limit).into()))
}
