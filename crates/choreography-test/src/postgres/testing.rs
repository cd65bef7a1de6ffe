//! A PostgreSQL server for tests, with one database per test.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;

use super::{PostgresServer, find_or_install};
use crate::error::Error;
use crate::free_port;
use crate::scratch::Scratch;

/// The maximum number of ports to try if another process takes a port first.
const MAX_TRIES: u32 = 5;

/// A PostgreSQL server on a free port with its data in a temporary folder; both are removed on drop.
///
/// Data and port survive [`kill`](PostgresServer::kill) and [`restart`](PostgresServer::restart). Commits are not
/// synced to disk (`fsync` is off).
#[derive(Debug)]
pub struct TestPostgres {
    server: PostgresServer,
    databases: AtomicU32,
}

impl TestPostgres {
    /// Returns the server that all tests of this process share; the first call starts it.
    ///
    /// It cannot be killed; a test that kills its server uses [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// As [`find_or_install`] and [`PostgresServerBuilder::start`](super::PostgresServerBuilder::start).
    pub async fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<TestPostgres> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// Starts a separate server for the caller, which takes one or two seconds.
    ///
    /// # Errors
    ///
    /// As [`shared`](Self::shared).
    pub async fn start() -> Result<Self, Error> {
        let bin = bin().await?;
        let mut tries = 0;
        loop {
            tries += 1;
            let scratch = Scratch::new("postgres")?;
            let builder =
                PostgresServer::builder(bin).port(free_port()).data_dir(scratch.path().join("data")).fsync(false);
            match builder.start_in(Some(scratch)).await {
                Err(Error::EndedEarly { last_lines, .. })
                    if last_lines.contains("Address already in use") && tries < MAX_TRIES => {}
                Err(error) => return Err(error),
                Ok(server) => {
                    return Ok(Self { server, databases: AtomicU32::new(0) });
                }
            }
        }
    }

    /// Creates a new database, and returns its URL.
    ///
    /// # Errors
    ///
    /// As [`PostgresServer::create_database`].
    pub async fn create_database(&self) -> Result<String, Error> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        self.server.create_database(&format!("test_{number}")).await
    }
}

impl Deref for TestPostgres {
    type Target = PostgresServer;

    fn deref(&self) -> &PostgresServer {
        &self.server
    }
}

impl DerefMut for TestPostgres {
    fn deref_mut(&mut self) -> &mut PostgresServer {
        &mut self.server
    }
}

/// Finds the programs once for all tests of a process.
async fn bin() -> Result<&'static PathBuf, Error> {
    static BIN: OnceCell<PathBuf> = OnceCell::const_new();
    BIN.get_or_try_init(|| find_or_install(|note| tracing::info!("{note}"))).await
}
