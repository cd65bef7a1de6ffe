//! The size of a service's database, and the free space of its disk.
//!
//! A full disk is an outage: the service waits for space and loses nothing. Before that, readiness warns with a note:
//! removing the service from rotation would free no space. Checked every 30 s, independently of messages.
//!
//! The disk of SQLite is the file system of its file. PostgreSQL reports the size of a database and not the free space
//! of its disk.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context as _;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tokio_util::sync::CancellationToken;

use crate::setting::Args;
use crate::state::database::answered;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::{self, Gauges, figure};

/// The [`Health`] part for the disk and the size of the database.
pub(crate) const STORAGE: &str = "storage";
/// The interval between checks.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long the database or the file system may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The default of the free space below which readiness warns: 1 GiB.
const MIN_FREE: u64 = 1 << 30;

static DATABASE_BYTES: LazyLock<Gauges> = LazyLock::new(|| {
    metrics::gauges("messaging_database_bytes", "Size of the database, the write-ahead log of SQLite included")
});
static FREE_BYTES: LazyLock<Gauges> = LazyLock::new(|| {
    metrics::gauges("messaging_disk_free_bytes", "Free space of the file system that has the SQLite database")
});

/// The threshold of free disk space.
#[derive(Debug, Clone, Args)]
pub struct StorageOptions {
    /// How many bytes the disk of an SQLite database must have free, or readiness warns; by default 1 GiB.
    #[arg(long, env = "MIN_FREE_DISK_BYTES", default_value_t = MIN_FREE,
        value_parser = crate::setting::number(0..=1 << 60))]
    pub min_free_disk_bytes: u64,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self { min_free_disk_bytes: MIN_FREE }
    }
}

/// The size of the database and the free space of its disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    database: u64,
    /// `None` if the database does not report it.
    free: Option<u64>,
}

/// Watches the disk of a database until shutdown.
pub(crate) struct StorageWatch {
    pub(crate) db: DatabaseConnection,
    pub(crate) options: StorageOptions,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
}

impl StorageWatch {
    pub(crate) async fn run(self) {
        let db = self.db.clone();
        let reading = move || {
            let db = db.clone();
            async move { read(&db).await }
        };
        self.run_reading(reading, INTERVAL, TIMEOUT).await;
    }

    async fn run_reading<F: Future<Output = anyhow::Result<Usage>>>(
        self,
        mut read: impl FnMut() -> F,
        interval: Duration,
        timeout: Duration,
    ) {
        let mut is_low = false;
        let mut every = tokio::time::interval(interval);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                _ = every.tick() => {}
            }
            let mut reading = std::pin::pin!(read());
            let usage = match tokio::time::timeout(timeout, &mut reading).await {
                Ok(read) => read,
                Err(_) => {
                    let silent = anyhow::anyhow!("no answer within {} s", timeout.as_secs());
                    is_low = self.report(Err(silent), is_low);
                    // One reading at a time: a file system that hangs keeps a thread for each.
                    match self.shutdown.run_until_cancelled(reading).await {
                        Some(read) => read,
                        None => return,
                    }
                }
            };
            is_low = self.report(usage, is_low);
        }
    }

    /// Sets metrics and readiness, and logs a change; returns whether the disk has too little space left.
    fn report(&self, usage: anyhow::Result<Usage>, was_low: bool) -> bool {
        let set = |gauges: &Gauges, value: f64| {
            gauges.get_or_create(&Vec::new()).set(value);
        };
        let usage = match usage {
            Ok(usage) => usage,
            Err(error) => {
                set(&DATABASE_BYTES, f64::NAN);
                set(&FREE_BYTES, f64::NAN);
                self.health.note(STORAGE, format!("the size of the database is unknown: {error:#}"));
                return was_low;
            }
        };
        set(&DATABASE_BYTES, figure(usage.database));
        set(&FREE_BYTES, usage.free.map_or(f64::NAN, figure));
        let min = self.options.min_free_disk_bytes;
        let is_low = usage.free.is_some_and(|free| free < min);
        self.health.note(STORAGE, usage.describe(min));
        match (was_low, is_low) {
            (false, true) => tracing::warn!(
                free_bytes = usage.free,
                min_free_bytes = min,
                database_bytes = usage.database,
                "the disk of the database is nearly full; once it is full the service waits; free some space"
            ),
            (true, false) => {
                tracing::info!(free_bytes = usage.free, "the disk of the database has enough space again")
            }
            _ => {}
        }
        is_low
    }
}

impl Usage {
    fn describe(self, min_free: u64) -> String {
        let database = mebibytes(self.database);
        match self.free {
            None => format!("the database has {database}; PostgreSQL does not report the free space of its disk"),
            Some(free) if free < min_free => format!(
                "the disk of the database is nearly full: {} are free, less than {} (MIN_FREE_DISK_BYTES), and the database \
                 has {database}; once the disk is full the service waits; free some space",
                mebibytes(free),
                mebibytes(min_free)
            ),
            Some(free) => format!("the database has {database}, and its disk {} free", mebibytes(free)),
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Reads the size from the database, and the free space from the file system.
async fn read(db: &DatabaseConnection) -> anyhow::Result<Usage> {
    let backend = db.get_database_backend();
    let sqlite = backend == DbBackend::Sqlite;
    let query = if sqlite {
        "SELECT file FROM pragma_database_list WHERE name = 'main'"
    } else {
        "SELECT pg_database_size(current_database()) AS bytes"
    };
    let row = answered(db.query_one_raw(Statement::from_string(backend, query))).await?;
    let row = row.context("the database does not report its size")?;
    if !sqlite {
        let bytes: i64 = row.try_get("", "bytes")?;
        return Ok(Usage { database: bytes.unsigned_abs(), free: None });
    }
    let file = PathBuf::from(row.try_get::<String>("", "file")?);
    // A file system may hang.
    tokio::task::spawn_blocking(move || of_file(&file)).await?
}

#[allow(clippy::useless_conversion, reason = "the counts have 32 bits on some systems")]
fn of_file(file: &Path) -> anyhow::Result<Usage> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let size = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    let disk = nix::sys::statvfs::statvfs(file)
        .with_context(|| format!("reading the file system of {}", file.display()))?;
    let free = u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size()));
    Ok(Usage { database: size(file) + size(Path::new(&log)), free: Some(free) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nearly_full_disk_is_noted_and_does_not_make_the_service_unready() {
        let health = Health::default();
        let watch = StorageWatch {
            db: DatabaseConnection::default(),
            options: StorageOptions::default(),
            health: health.clone(),
            shutdown: CancellationToken::new(),
        };
        let usage = |free| Ok(Usage { database: 5 << 20, free });
        let detail = || health.readiness().checks[STORAGE].detail.clone();
        assert!(!watch.report(usage(Some(2 << 30)), false));
        assert_eq!(detail(), "the database has 5 MiB, and its disk 2048 MiB free");
        assert!(watch.report(usage(Some(9 << 20)), false));
        assert!(detail().contains("nearly full: 9 MiB are free, less than 1024 MiB"), "{}", detail());
        // A failed reading changes nothing.
        assert!(watch.report(Err(anyhow::anyhow!("frozen")), true));
        assert!(detail().contains("unknown: frozen"));
        assert!(!watch.report(usage(None), true));
        assert!(health.readiness().ready);
    }

    #[tokio::test]
    async fn a_reading_that_hangs_is_reported_and_is_the_only_one() {
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let watch = StorageWatch {
            db: DatabaseConnection::default(),
            options: StorageOptions::default(),
            health: health.clone(),
            shutdown: shutdown.clone(),
        };
        let (readings, mut started) = tokio::sync::mpsc::unbounded_channel();
        let hangs = || {
            readings.send(()).unwrap();
            std::future::pending()
        };
        let stop = async {
            let is_reported =
                || health.readiness().checks.get(STORAGE).is_some_and(|c| c.detail.contains("no answer"));
            while !is_reported() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Many intervals.
            tokio::time::sleep(Duration::from_millis(50)).await;
            shutdown.cancel();
        };
        tokio::join!(watch.run_reading(hangs, Duration::from_millis(1), Duration::from_millis(1)), stop);
        assert!(started.try_recv().is_ok() && started.try_recv().is_err(), "one reading");
    }
}
