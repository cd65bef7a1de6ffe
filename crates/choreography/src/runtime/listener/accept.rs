//! Accepts connections, even when the operating system is out of resources.
//!
//! Without file descriptors, buffers, or memory, `accept` fails immediately and repeatedly, while the connection stays
//! in its queue. Retrying without a pause would use a whole core and serve no client.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::places::COUNTED;
use crate::telemetry::health::Health;

/// The first pause after a failure; it doubles.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause after a failure.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long accepting must succeed before recovery is reported: clients that reconnect immediately would change it many
/// times a second.
const CALM: Duration = Duration::from_secs(5);
/// The [`Health`] part for accepting connections.
pub(crate) const HTTP: &str = "http";

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The accepted TCP stream.
    pub stream: TcpStream,
    /// The address of the client.
    pub client: SocketAddr,
    /// Whether it uses the spare file descriptor: to be closed soon.
    pub is_last: bool,
}

/// Accepts connections. A failure is logged once, reported in readiness, and retried after a pause.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    condition: Condition,
    /// A spare descriptor, released when there are no others, so that readiness can still report that.
    spare: Option<File>,
    pause: Duration,
}

impl Acceptor {
    /// Creates an acceptor for a listener; reports to `health`, if given.
    #[must_use]
    pub fn new(listener: TcpListener, health: Option<Health>) -> Self {
        Self { listener, condition: Condition::new(health), spare: spare(), pause: MIN_PAUSE }
    }

    /// Returns the address it is bound to.
    ///
    /// # Errors
    ///
    /// If the operating system does not return it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the next connection, however long it takes. Cancel-safe.
    pub async fn accept(&mut self) -> Accepted {
        loop {
            if self.spare.is_none() {
                self.spare = spare();
            }
            let error = match self.listener.accept().await {
                Ok((stream, client)) => {
                    self.pause = MIN_PAUSE;
                    self.condition.clear(Cause::OutOfResources);
                    return Accepted { stream, client, is_last: false };
                }
                Err(error) if is_of_the_client(&error) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Err(error) => error,
            };
            COUNTED.accept_errors.inc();
            self.condition.set(Cause::OutOfResources, &format!("connections cannot be accepted: {error}"));
            if is_out_of_descriptors(&error) && self.spare.take().is_some() {
                // Returns immediately unless no client is waiting any more; then the pause follows.
                if let Ok(Ok((stream, client))) = tokio::time::timeout(MIN_PAUSE, self.listener.accept()).await {
                    return Accepted { stream, client, is_last: true };
                }
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(MAX_PAUSE);
        }
    }

    /// Returns the condition, so that others can report on the same part of [`Health`].
    pub(super) fn condition(&mut self) -> &mut Condition {
        &mut self.condition
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Returns whether only this connection failed, before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    error.raw_os_error().map(Errno::from_raw).is_some_and(|errno| matches!(errno, Errno::EMFILE | Errno::ENFILE))
}

/// Why clients are not served normally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The operating system is out of file descriptors, buffers, or memory.
    OutOfResources,
    /// The maximum number of connections is open.
    Full,
}

/// Whether a listener serves all clients: one log line per change, and a part in [`Health`].
#[derive(Debug)]
pub(super) struct Condition {
    health: Option<Health>,
    failing: Option<(Cause, Instant)>,
    pressure: Arc<Notify>,
}

impl Condition {
    fn new(health: Option<Health>) -> Self {
        if let Some(health) = &health {
            health.ok(HTTP);
        }
        Self { health, failing: None, pressure: Arc::default() }
    }

    /// Returns the signal that other clients wait: idle connections end.
    pub(super) fn pressure(&self) -> Arc<Notify> {
        self.pressure.clone()
    }

    pub(super) fn set(&mut self, cause: Cause, detail: &str) {
        self.pressure.notify_waiters();
        let before = self.failing.replace((cause, Instant::now()));
        if before.is_some_and(|(before, _)| before == cause) {
            return;
        }
        match &self.health {
            Some(health) => health.failed(HTTP, detail),
            None => tracing::warn!(detail, "clients are not served"),
        }
    }

    pub(super) fn clear(&mut self, cause: Cause) {
        if !self.failing.is_some_and(|(failing, last)| failing == cause && last.elapsed() >= CALM) {
            return;
        }
        self.failing = None;
        tracing::info!("connections are accepted again");
        if let Some(health) = &self.health {
            health.ok(HTTP);
        }
    }
}
