//! A nats-server with JetStream as a child process.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::error::{Doing, Error};
use crate::process::{Guard, OnLine, Process};
use crate::scratch::Scratch;

const SERVER: &str = "nats-server";

/// The settings of a nats-server. Made by [`NatsServer::builder`].
#[derive(Clone)]
pub struct NatsServerBuilder {
    program: PathBuf,
    config: Option<PathBuf>,
    host: String,
    port: u16,
    monitor_port: u16,
    store_dir: Option<PathBuf>,
    routes: Option<Routes>,
    variables: Vec<(String, String)>,
    ready_within: Duration,
    on_line: OnLine,
}

/// The routes of a server to the others of its cluster.
#[derive(Debug, Clone)]
pub struct Routes {
    /// The name of the cluster.
    pub cluster: String,
    /// The port on which this server accepts routes.
    pub port: u16,
    /// The address that this server advertises to the others, such as `127.0.0.1:6222`.
    pub advertise: String,
    /// The URLs of the others, such as `nats://127.0.0.1:6223`.
    pub others: Vec<String>,
}

impl NatsServerBuilder {
    /// Reads this config file, which must enable JetStream. Without one, JetStream is enabled and there is no access
    /// control.
    #[must_use]
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = Some(file.into());
        self
    }

    /// Listens on this address, by default 127.0.0.1; overrides the config file.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Listens on this port, by default 4222; overrides the config file.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Serves monitoring on this port, by default 8222; overrides the config file.
    #[must_use]
    pub fn monitor_port(mut self, port: u16) -> Self {
        self.monitor_port = port;
        self
    }

    /// Stores streams in this folder, by default in `data/nats`.
    ///
    /// A config file must use `$NATS_STORE_DIR`: nats-server refuses its own flag if the config file sets the folder.
    #[must_use]
    pub fn store_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.store_dir = Some(folder.into());
        self
    }

    /// Makes it a server of a cluster. It does not advertise the other servers to clients, which use only their
    /// configured URLs.
    ///
    /// A server of a cluster is ready when the cluster has a leader: start all servers together.
    #[must_use]
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes = Some(routes);
        self
    }

    /// Defines `$name` for the config file, such as a password. Any text is allowed, because the value is quoted: the
    /// server would parse a number or a `#` as syntax.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl AsRef<str>) -> Self {
        self.variables.push((name.into(), quoted(value.as_ref())));
        self
    }

    /// Sets an unquoted environment variable for the server itself, such as `GOGC`, and not for its config file.
    #[must_use]
    pub fn environment(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Fails if the server is not ready after this time, by default 30 seconds. Reading a big store takes long.
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

    /// Starts the server and waits until it is ready, JetStream and the stored streams included.
    ///
    /// # Errors
    ///
    /// [`Error::EndedEarly`] with the server's last lines, such as "address already in use" or a mistake in the config
    /// file; [`Error::NotReady`] if it takes too long.
    pub async fn start(self) -> Result<NatsServer, Error> {
        self.start_in(None).await
    }

    /// Starts the server with a folder that is removed when the server is dropped.
    pub(crate) async fn start_in(self, scratch: Option<Scratch>) -> Result<NatsServer, Error> {
        // The data in a temporary folder is removed anyway, so the server need not shut down gracefully.
        let signal = if scratch.is_some() { Signal::SIGKILL } else { Signal::SIGTERM };
        let guard = Guard::new(signal, scratch.as_ref().map(Scratch::path))?;
        let mut server = NatsServer { settings: self, process: None, _scratch: scratch, guard };
        server.start().await?;
        Ok(server)
    }

    /// Returns the name, which distinguishes this server from another one on the same port.
    fn name(&self) -> String {
        format!("local-{}-{}", self.port, std::process::id())
    }

    fn folder(&self) -> &Path {
        self.store_dir.as_deref().unwrap_or_else(|| Path::new("data/nats"))
    }

    fn command(&self, name: &str) -> Command {
        let store_dir = self.folder();
        let mut command = Command::new(&self.program);
        command
            .args(["--addr", &self.host, "--port", &self.port.to_string()])
            .args(["--http_port", &self.monitor_port.to_string(), "--name", name])
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        match &self.config {
            Some(config) => {
                command.arg("--config").arg(config).env("NATS_STORE_DIR", quoted(&store_dir.to_string_lossy()))
            }
            None => command.arg("--jetstream").arg("--store_dir").arg(store_dir),
        };
        if let Some(routes) = &self.routes {
            command
                .args(["--cluster_name", &routes.cluster, "--no_advertise"])
                .args(["--cluster", &format!("nats://{}:{}", self.host, routes.port)])
                .args(["--cluster_advertise", &routes.advertise, "--routes", &routes.others.join(",")]);
        }
        command
    }
}

/// A running nats-server with JetStream, killed on drop.
///
/// It does not outlive this process, however this process ends, and Ctrl-C in a terminal does not reach it.
pub struct NatsServer {
    settings: NatsServerBuilder,
    process: Option<Process>,
    // Dropped before the guard, which would otherwise remove the folder.
    _scratch: Option<Scratch>,
    guard: Guard,
}

impl NatsServer {
    /// Returns the default settings for this program, as found by [`find_or_install`](super::find_or_install).
    pub fn builder(program: impl Into<PathBuf>) -> NatsServerBuilder {
        NatsServerBuilder {
            program: program.into(),
            config: None,
            host: "127.0.0.1".to_owned(),
            port: 4222,
            monitor_port: 8222,
            store_dir: None,
            routes: None,
            variables: Vec::new(),
            ready_within: Duration::from_secs(30),
            on_line: Arc::new(|line| tracing::debug!("nats-server: {line}")),
        }
    }

    /// Returns the URL for clients, such as `nats://127.0.0.1:4222`.
    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.settings.host, self.settings.port)
    }

    /// Returns the port for clients.
    pub fn port(&self) -> u16 {
        self.settings.port
    }

    /// Returns the URL of the monitor, such as `http://127.0.0.1:8222`.
    pub fn monitor_url(&self) -> String {
        format!("http://{}:{}", self.settings.host, self.settings.monitor_port)
    }

    /// Returns the folder of its streams.
    pub fn store_dir(&self) -> &Path {
        self.settings.folder()
    }

    /// Returns the process id; `None` while the server does not run.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
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
        let status = process.ended().doing(|| "checking whether nats-server runs".to_owned())?;
        if status.is_some() {
            self.process = None;
            self.guard.watch(None);
        }
        Ok(status)
    }

    /// Defines `$name` for the config file from the next start on, as [`NatsServerBuilder::variable`] does.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.settings.variables.retain(|(known, _)| known != name);
        self.settings.variables.push((name.to_owned(), quoted(value)));
    }

    /// Kills the server (SIGKILL), as in a crash. Does nothing if it does not run.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the operating system refuses.
    pub fn kill(&mut self) -> Result<(), Error> {
        if let Some(mut process) = self.process.take() {
            process.kill().doing(|| "killing nats-server".to_owned())?;
            self.guard.watch(None);
        }
        Ok(())
    }

    /// Stops the server (SIGTERM) and waits until it has ended; kills it after ten seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the operating system refuses.
    pub async fn stop(&mut self) -> Result<(), Error> {
        let doing = || "stopping nats-server".to_owned();
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        process.signal(Signal::SIGTERM).doing(doing)?;
        process.signal(Signal::SIGCONT).doing(doing)?;
        process.wait(Duration::from_secs(10)).await.doing(doing)?;
        self.kill()
    }

    /// Restarts the server with the same settings, port, and store; stops it first if it runs.
    ///
    /// # Errors
    ///
    /// As [`NatsServerBuilder::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await?;
        self.start().await
    }

    /// Replaces the text of the config file, and lets the server read it (SIGHUP). The server closes the connections of
    /// users that changed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be written, or the operating system refuses.
    pub fn reconfigure(&mut self, text: &str) -> Result<(), Error> {
        let name = self.settings.name();
        if let Some(config) = &self.settings.config {
            // The server refuses a reload if its name is in the command line only.
            fs::write(config, format!("server_name: {name:?}\n{text}"))
                .doing(|| format!("writing {}", config.display()))?;
        }
        let Some(process) = &mut self.process else { return Ok(()) };
        process.signal(Signal::SIGHUP).doing(|| "reloading nats-server".to_owned())
    }

    /// Pauses the server (SIGSTOP): connections stay open, and it does not respond.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the operating system refuses.
    pub fn pause(&mut self) -> Result<(), Error> {
        let Some(process) = &mut self.process else { return Ok(()) };
        process.pause().doing(|| "pausing nats-server".to_owned())
    }

    /// Resumes a paused server (SIGCONT).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the operating system refuses.
    pub fn resume(&mut self) -> Result<(), Error> {
        let Some(process) = &mut self.process else { return Ok(()) };
        process.signal(Signal::SIGCONT).doing(|| "resuming nats-server".to_owned())
    }

    async fn start(&mut self) -> Result<(), Error> {
        let name = self.settings.name();
        let process = Process::spawn(SERVER, &mut self.settings.command(&name), &self.settings.on_line)?;
        self.guard.watch(Some(process.id()));
        let process = self.process.insert(process);
        let ready = wait_until_ready(process, &self.settings, &name).await;
        if ready.is_err() {
            self.kill()?;
        }
        ready
    }
}

impl fmt::Debug for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsServer").field("url", &self.url()).field("id", &self.id()).finish()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(%error, "nats-server could not be killed");
        }
    }
}

async fn wait_until_ready(process: &mut Process, settings: &NatsServerBuilder, name: &str) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        if let Some(status) = process.ended().doing(|| "checking whether nats-server runs".to_owned())? {
            let last_lines = process.last_lines();
            return Err(Error::EndedEarly { server: SERVER, status, last_lines });
        }
        let probe = tokio::time::timeout(Duration::from_secs(1), is_ready(settings, name)).await;
        if matches!(probe, Ok(Ok(true))) {
            return Ok(());
        }
        if start.elapsed() > settings.ready_within {
            let last_lines = process.last_lines();
            return Err(Error::NotReady { server: SERVER, waited: settings.ready_within, last_lines });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns whether the server with this name accepts clients, has JetStream enabled, and has read its store.
async fn is_ready(settings: &NatsServerBuilder, name: &str) -> io::Result<bool> {
    // The first line of a server is `INFO {…}`.
    let client = TcpStream::connect((settings.host.as_str(), settings.port)).await?;
    let mut info = String::new();
    BufReader::new(client).take(64 * 1024).read_line(&mut info).await?;
    if !info.contains(&format!(r#""server_name":"{name}""#)) || !info.contains(r#""jetstream":true"#) {
        return Ok(false);
    }

    let mut monitor = TcpStream::connect((settings.host.as_str(), settings.monitor_port)).await?;
    monitor.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
    let mut status = String::new();
    BufReader::new(monitor).take(1024).read_line(&mut status).await?;
    Ok(status.contains(" 200 "))
}

/// Quotes a text as a string of the server's config syntax.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#))
}
