//! The database of a service: SQLite by default, PostgreSQL by URL.

use std::time::Duration;

use anyhow::{Context, anyhow};
use sea_orm::sqlx::Connection;
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr, SqlxError};
use sea_orm_migration::MigratorTrait;

use crate::setting::{check_database_url, redacted};
use crate::statement::PREPARED;

/// How long a transaction waits for a connection. With the wait between two tries it is shorter than the ack-wait of
/// the consumers (10 s): a batch that waits for its database tells the server so before it is delivered again.
const ACQUIRE: Duration = Duration::from_secs(4);
/// Connections of a pool, at the most.
const CONNECTIONS: u32 = 8;

/// The database of a service, as it is used.
#[derive(Debug, Clone)]
pub struct Databases {
    /// For whatever writes. In SQLite it is one connection: writers take turns there anyway, and what a connection has cached
    /// is worth nothing once another one has written.
    pub writer: DatabaseConnection,
    /// For whatever only reads; never waits for a writer.
    pub reader: DatabaseConnection,
}

impl Databases {
    /// Opens the database of a service and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// As [`open`].
    pub async fn open<M: MigratorTrait>(url: &str) -> anyhow::Result<Self> {
        if !url.starts_with("sqlite:") {
            let db = open::<M>(url).await?;
            return Ok(Self { writer: db.clone(), reader: db });
        }
        let writer = connect(url, 1).await?;
        migrate::<M>(&writer, url).await?;
        Ok(Self { writer, reader: connect(url, CONNECTIONS).await? })
    }

    pub(crate) async fn close(&self) -> Result<(), DbErr> {
        self.writer.close_by_ref().await?;
        self.reader.close_by_ref().await
    }
}

impl From<DatabaseConnection> for Databases {
    fn from(db: DatabaseConnection) -> Self {
        Self { writer: db.clone(), reader: db }
    }
}

/// Opens a database, for reading and writing alike, and brings its tables up to date.
///
/// `sqlite://<path>?mode=rwc` (a file; `WAL`, `synchronous=NORMAL`: a killed process loses nothing, a power cut may
/// lose the last transactions, which JetStream then delivers again) or `postgres://…`.
///
/// # Errors
///
/// Where the URL is wrong, the database does not answer within 10 s, or a migration fails.
pub async fn open<M: MigratorTrait>(url: &str) -> anyhow::Result<DatabaseConnection> {
    let db = connect(url, CONNECTIONS).await?;
    migrate::<M>(&db, url).await?;
    Ok(db)
}

async fn migrate<M: MigratorTrait>(db: &DatabaseConnection, url: &str) -> anyhow::Result<()> {
    M::up(db, None).await.with_context(|| format!("bringing the tables of {} up to date", redacted(url)))
}

async fn connect(url: &str, connections: u32) -> anyhow::Result<DatabaseConnection> {
    check_database_url(url).map_err(|why| anyhow!("DATABASE_URL {why}"))?;
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .connect_timeout(Duration::from_secs(10))
        .acquire_timeout(ACQUIRE)
        .test_before_acquire_if_idle_for(Duration::from_secs(1))
        .sqlx_logging(false)
        .map_sqlx_sqlite_pool_opts(|options| {
            options.after_release(|connection, _| {
                Box::pin(async move {
                    if connection.is_in_transaction() {
                        // The rollback of a transaction that was dropped is queued; behind a ping it has been tried.
                        connection.ping().await?;
                    }
                    // Where the disk was full, SQLite has rolled back by itself, and the rollback behind that failed.
                    // sqlx would count a transaction for ever, begin others inside of it, and never end them.
                    Ok(!connection.is_in_transaction())
                })
            })
        })
        .map_sqlx_sqlite_opts(|options| {
            options
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "NORMAL")
                // In pages of 4 KiB. A page that many batches change is copied into the database once for all of them.
                .pragma("wal_autocheckpoint", "8000")
                // In KiB, of each connection.
                .pragma("cache_size", "-4000")
                // What a statement needs to be undone; else a temporary file.
                .pragma("temp_store", "MEMORY")
                .busy_timeout(Duration::from_secs(5))
                .statement_cache_capacity(PREPARED)
        })
        .map_sqlx_postgres_opts(|options| options.statement_cache_capacity(PREPARED));
    Database::connect(options).await.with_context(|| format!("opening the database {}", redacted(url)))
}

/// Returns whether the database is away, full, or contended, rather than the statement wrong.
pub(crate) fn is_outage(error: &DbErr) -> bool {
    let runtime = match error {
        DbErr::ConnectionAcquire(_) => return true,
        DbErr::Conn(_) => return true,
        DbErr::Exec(runtime) | DbErr::Query(runtime) => runtime,
        _ => return false,
    };
    let RuntimeErr::SqlxError(error) = runtime else { return false };
    match error.as_ref() {
        SqlxError::Io(_) | SqlxError::PoolTimedOut | SqlxError::PoolClosed | SqlxError::WorkerCrashed => true,
        SqlxError::Database(error) => error.code().is_some_and(|code| is_outage_code(&code)),
        _ => false,
    }
}

/// SQLite's primary result codes (the low byte of the extended ones) and PostgreSQL's SQLSTATE classes that speak of
/// the database and not of the statement.
fn is_outage_code(code: &str) -> bool {
    if code.len() == 5 {
        // Connection exception, transaction rollback (deadlock, serialization), insufficient resources, operator
        // intervention, system error; and a read-only transaction.
        return ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || code == "25006";
    }
    // BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 13 | 14))
}
