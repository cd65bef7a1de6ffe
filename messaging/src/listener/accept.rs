//! Connections taken from the operating system, also while it is out of something.
//!
//! Without file descriptors, buffers, or memory `accept` fails at once and again, while the connection stays in its queue.
//! Whoever tries again at once keeps a core busy and answers nobody.

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
use crate::health::Health;

/// The first pause after a failure; it doubles.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two failures.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long all must have gone well before that is said: clients that come back at once change it many times a second.
const CALM: Duration = Duration::from_secs(5);
/// The part of [`Health`] that says whether connections are accepted.
pub(crate) const HTTP: &str = "http";

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// The client.
    pub client: SocketAddr,
    /// Whether it took the file descriptor that is kept for this: to be closed soon.
    pub is_last: bool,
}

/// Accepts connections. A failure is logged once, shows in readiness, and is tried again with a pause.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    condition: Condition,
    /// Given up when there are no more descriptors, so that readiness can still tell so.
    spare: Option<File>,
    pause: Duration,
}

impl Acceptor {
    /// Accepts from a listener; its state shows in `health`, when there is one.
    #[must_use]
    pub fn new(listener: TcpListener, health: Option<Health>) -> Self {
        Self { listener, condition: Condition::new(health), spare: spare(), pause: MIN_PAUSE }
    }

    /// Returns the address it is bound to.
    ///
    /// # Errors
    ///
    /// When the operating system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the next connection, however long it takes. Can be cancelled and called again.
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
                // Ready, or nobody waits any more; a pause follows then.
                if let Ok(Ok((stream, client))) = tokio::time::timeout(MIN_PAUSE, self.listener.accept()).await {
                    return Accepted { stream, client, is_last: true };
                }
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(MAX_PAUSE);
        }
    }

    /// Lets others report on the same part of [`Health`].
    pub(super) fn condition(&mut self) -> &mut Condition {
        &mut self.condition
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Returns whether only this one connection failed, before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    error.raw_os_error().map(Errno::from_raw).is_some_and(|errno| matches!(errno, Errno::EMFILE | Errno::ENFILE))
}

/// Why clients are not served as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The operating system is out of file descriptors, buffers, or memory.
    OutOfResources,
    /// As many connections are open as may be.
    Full,
}

/// Whether a listener serves everybody: one line in the log for each change, and a part in [`Health`].
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

    /// Returns what tells connections that others wait for their place: those that are idle end.
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
