//! The database of a service: SQLite by default, PostgreSQL by URL.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures::future::BoxFuture;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr};
use sea_orm_migration::MigratorTrait;
use tokio::time::timeout;

use crate::setting::{check_database_url, redacted};
use crate::state::fault;
use crate::state::migrator::migrate;
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

/// The time limit of a statement that writes to PostgreSQL, in milliseconds. Below the ack-wait (10 s): a stuck transaction
/// must end before its messages are redelivered to another instance, which would wait for its locks.
const WRITE_TIMEOUT_MS: u32 = 5_000;
/// Reads may take longer: sums over whole tables. Below [`ANSWER_TIMEOUT`], when the caller stops waiting.
const READ_TIMEOUT_MS: u32 = 9_000;
/// SQLite syncs its write-ahead log with each commit.
const SYNC_COMMITS: &str = "PRAGMA synchronous = FULL";

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

#[cfg_attr(
    not(all(feature = "sqlite", feature = "postgres")),
    allow(unused_variables, reason = "each database has one of them")
)]
// Boxed, so that the crates of the services do not compile the database driver again.
fn connect<'a>(
    url: &'a str,
    connections: u32,
    statement_timeout_ms: u32,
    synced: &'a Arc<AtomicBool>,
) -> BoxFuture<'a, anyhow::Result<DatabaseConnection>> {
    Box::pin(async move {
        check_database_url(url).map_err(|why| anyhow!("DATABASE_URL {why}"))?;
        let mut options = ConnectOptions::new(url);
        options
            .max_connections(connections)
            .connect_timeout(Duration::from_secs(10))
            .acquire_timeout(ACQUIRE)
            .max_lifetime(MAX_LIFETIME)
            .test_before_acquire_if_idle_for(Duration::from_secs(1))
            .sqlx_logging(false);
        #[cfg(feature = "sqlite")]
        sqlite::configure(&mut options, synced.clone());
        #[cfg(feature = "postgres")]
        postgres::configure(&mut options, statement_timeout_ms);
        Database::connect(options).await.with_context(|| format!("opening the database {}", redacted(url)))
    })
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
