//! A PostgreSQL server as a child process.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::run_as::RunAs;
use super::wire;
use crate::error::{Doing, Error};
use crate::process::{Guard, OnLine, Process};
use crate::scratch::Scratch;

const SERVER: &str = "PostgreSQL";

/// The database user that `initdb` creates; connections from 127.0.0.1 need no password.
const USER: &str = "postgres";

/// SQLSTATE `duplicate_database`.
const EXISTS_ALREADY: &str = "42P04";

/// The settings of a PostgreSQL server. Made by [`PostgresServer::builder`].
#[derive(Clone)]
pub struct PostgresServerBuilder {
    bin: PathBuf,
    port: u16,
    data_dir: PathBuf,
    fsync: bool,
    settings: Vec<(String, String)>,
    ready_within: Duration,
    on_line: OnLine,
}

impl PostgresServerBuilder {
    /// Listens on this port of 127.0.0.1, by default 5432.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Stores the databases in this folder, by default `data/postgres`. It is created and initialised if necessary.
    #[must_use]
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = folder.into();
        self
    }

    /// Whether commits are synced to disk, by default `true`. Without, commits are fast, and a power failure, but not
    /// a kill of the server, may destroy the databases.
    #[must_use]
    pub fn fsync(mut self, fsync: bool) -> Self {
        self.fsync = fsync;
        self
    }

    /// Fails if the server is not ready after this time, by default 30 seconds.
    #[must_use]
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// Calls this with each line of the server's output, from a separate thread. By default the lines are logged at
    /// level debug.
    #[must_use]
    pub fn on_line(mut self, on_line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_line = Arc::new(on_line);
        self
    }

    /// Starts the server and waits until it accepts connections.
    ///
    /// As root, runs it as user `postgres` or `nobody`, who also becomes the owner of a new data folder.
    ///
    /// # Errors
    ///
    /// [`Error::EndedEarly`] with the last lines of `initdb` or of the server;
    /// [`Error::NotReady`] if it takes too long.
    pub async fn start(self) -> Result<PostgresServer, Error> {
        self.start_in(None).await
    }

    /// Starts the server with a folder that is removed when the server is dropped.
    pub(crate) async fn start_in(mut self, scratch: Option<Scratch>) -> Result<PostgresServer, Error> {
        let run_as = RunAs::new()?;
        let doing = || "finding the data folder of PostgreSQL".to_owned();
        self.data_dir = std::path::absolute(&self.data_dir).doing(doing)?;
        let folder = scratch.as_ref().map(Scratch::path);
        if let Some(folder) = folder {
            run_as.own(folder)?;
        }
        // For the clients like SIGKILL, but the server removes its shared memory first.
        let guard = Guard::new(Signal::SIGQUIT, folder)?;
        let mut server = PostgresServer { settings: self, run_as, process: None, _scratch: scratch, guard };
        server.initialise().await?;
        server.start().await?;
        Ok(server)
    }

    fn command(&self, run_as: &RunAs) -> Command {
        let fsync = if self.fsync { "on" } else { "off" };
        let mut command = run_as.command(&self.bin.join("postgres"));
        command
            .arg("-D")
            .arg(&self.data_dir)
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories=", "-c", "max_connections=300"])
            .args(["-c", &format!("fsync={fsync}"), "-c", &format!("full_page_writes={fsync}")]);
        for (name, value) in &self.settings {
            command.args(["-c", &format!("{name}={value}")]);
        }
        command
    }
}

/// A running PostgreSQL server, ended on drop.
///
/// It does not outlive this process, however this process ends, and Ctrl-C in a terminal does not reach it.
pub struct PostgresServer {
    settings: PostgresServerBuilder,
    run_as: RunAs,
    process: Option<Process>,
    // Dropped before the guard, which would otherwise remove the folder.
    _scratch: Option<Scratch>,
    guard: Guard,
}

impl PostgresServer {
    /// Returns the default settings for the programs in this folder, as found by
    /// [`find_or_install`](super::find_or_install).
    pub fn builder(bin: impl Into<PathBuf>) -> PostgresServerBuilder {
        PostgresServerBuilder {
            bin: bin.into(),
            port: 5432,
            data_dir: "data/postgres".into(),
            fsync: true,
            settings: Vec::new(),
            ready_within: Duration::from_secs(30),
            on_line: Arc::new(|line| tracing::debug!("postgres: {line}")),
        }
    }

    /// Returns the URL of a database, such as `postgres://postgres@127.0.0.1:5432/orders`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.settings.port)
    }

    /// Returns the port for clients.
    pub fn port(&self) -> u16 {
        self.settings.port
    }

    /// Sets a parameter of the server from the next start on, such as `ssl`.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.settings.retain(|(known, _)| known != name);
        self.settings.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Copies a file into the data folder, for the server alone: such as the key of its certificate. Returns the path of
    /// the copy.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be copied.
    pub fn give(&self, file: &Path) -> Result<PathBuf, Error> {
        let doing = || format!("copying {} for PostgreSQL", file.display());
        let copy = self.settings.data_dir.join(file.file_name().unwrap_or_default());
        fs::copy(file, &copy).doing(doing)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).doing(doing)?;
        self.run_as.own(&copy)?;
        Ok(copy)
    }

    /// Returns the process id; `None` while the server does not run.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Creates the database unless it exists, and returns its URL.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the server refuses; [`Error::Io`] if it does not respond.
    pub async fn create_database(&self, name: &str) -> Result<String, Error> {
        let statement = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        let result = wire::execute(self.settings.port, USER, "postgres", &statement)
            .await
            .doing(|| format!("creating the database {name}"))?;
        match result {
            Err(refusal) if refusal.code != EXISTS_ALREADY => {
                Err(Error::Refused { statement, message: refusal.to_string() })
            }
            _ => Ok(self.url(name)),
        }
    }

    /// Returns the exit status of the server once if it ended by itself; then it can be restarted. `None` while it
    /// runs, and after [`kill`](Self::kill) or [`stop`](Self::stop).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the operating system does not report it.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some(process) = &mut self.process else {
            return Ok(None);
        };
        let status = process.ended().doing(|| "checking whether PostgreSQL runs".to_owned())?;
        if status.is_some() {
            self.process = None;
            self.guard.watch(None);
        }
        Ok(status)
    }

    /// Kills the server (SIGKILL), as in a crash. Does nothing if it does not run.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the operating system refuses.
    pub fn kill(&mut self) -> Result<(), Error> {
        if let Some(mut process) = self.process.take() {
            process.kill().doing(|| "killing PostgreSQL".to_owned())?;
            self.guard.watch(None);
        }
        Ok(())
    }

    /// Stops the server without waiting for its clients to disconnect, and waits until it has ended; kills it after
    /// ten seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the operating system refuses.
    pub async fn stop(&mut self) -> Result<(), Error> {
        let doing = || "stopping PostgreSQL".to_owned();
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        // SIGINT is PostgreSQL's "fast shutdown"; SIGTERM would wait for the clients.
        process.signal(Signal::SIGINT).doing(doing)?;
        process.wait(Duration::from_secs(10)).await.doing(doing)?;
        self.kill()
    }

    /// Restarts the server with the same settings, port, and data; stops it first if it runs.
    ///
    /// # Errors
    ///
    /// As [`PostgresServerBuilder::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await?;
        self.start().await
    }

    /// Creates an empty database cluster in the data folder, unless there is one.
    async fn initialise(&mut self) -> Result<(), Error> {
        let settings = &self.settings;
        let data_dir = &settings.data_dir;
        if data_dir.join("PG_VERSION").is_file() {
            return Ok(());
        }
        fs::create_dir_all(data_dir).doing(|| format!("creating {}", data_dir.display()))?;
        self.run_as.own(data_dir)?;

        let mut command = self.run_as.command(&settings.bin.join("initdb"));
        command.arg("--pgdata").arg(data_dir).args([
            "--username",
            USER,
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--no-locale",
        ]);
        if !settings.fsync {
            command.arg("--no-sync");
        }
        let mut process = Process::spawn("initdb", &mut command, &settings.on_line)?;
        self.guard.watch(Some(process.id()));
        let waited = Duration::from_secs(120);
        let status = process.wait(waited).await.doing(|| "waiting for initdb".to_owned())?;
        if status.is_none() {
            process.kill().doing(|| "killing initdb".to_owned())?;
        }
        self.guard.watch(None);
        let last_lines = process.last_lines();
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Error::EndedEarly { server: "initdb", status, last_lines }),
            None => Err(Error::NotReady { server: "initdb", waited, last_lines }),
        }
    }

    async fn start(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + self.settings.ready_within;
        loop {
            match self.start_once().await {
                // After a kill, the backend processes of single clients run for a moment longer.
                Err(Error::EndedEarly { last_lines, .. })
                    if last_lines.contains("is still in use") && Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                result => return result,
            }
        }
    }

    async fn start_once(&mut self) -> Result<(), Error> {
        let settings = &self.settings;
        let process = Process::spawn(SERVER, &mut settings.command(&self.run_as), &settings.on_line)?;
        self.guard.watch(Some(process.id()));
        let process = self.process.insert(process);
        let ready = wait_until_ready(process, &settings.data_dir, settings.ready_within).await;
        if ready.is_err() {
            self.kill()?;
        }
        ready
    }
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresServer").field("port", &self.port()).field("id", &self.id()).finish()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        // Unlike SIGKILL, SIGQUIT lets the server remove its shared memory.
        let signalled = process.signal(Signal::SIGQUIT);
        let deadline = Instant::now() + Duration::from_secs(5);
        while signalled.is_ok() && matches!(process.ended(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Err(error) = self.kill() {
            tracing::warn!(%error, "PostgreSQL could not be killed");
        }
    }
}

async fn wait_until_ready(process: &mut Process, data_dir: &Path, limit: Duration) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        if let Some(status) = process.ended().doing(|| "checking whether PostgreSQL runs".to_owned())? {
            let last_lines = process.last_lines();
            return Err(Error::EndedEarly { server: SERVER, status, last_lines });
        }
        if is_ready(data_dir, process.id()) {
            return Ok(());
        }
        if start.elapsed() > limit {
            let last_lines = process.last_lines();
            return Err(Error::NotReady { server: SERVER, waited: limit, last_lines });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns whether this process accepts connections, by the method of `pg_ctl`: the first line of the server's lock
/// file is its process id, the eighth its state.
fn is_ready(data_dir: &Path, id: u32) -> bool {
    let lock = fs::read_to_string(data_dir.join("postmaster.pid")).unwrap_or_default();
    lock.lines().next() == Some(id.to_string().as_str())
        && lock.lines().nth(7).is_some_and(|state| state.trim() == "ready")
}
