//! Process-level setup of a program: logs, signals, output, and, as a feature, the allocator.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::exit;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::telemetry::output::Output;

/// The feature `mimalloc`: a batch consists of many small allocations with the lifetime of the batch. glibc's allocator
/// costs a fifth of a service's CPU time; this one does not, and returns the memory of a burst to the system.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the log may take for its last lines when a program ends.
const FLUSH: Duration = Duration::from_millis(500);
/// How long a process may take to end after a signal. Container runtimes kill after 10 s.
const END_WITHIN: Duration = Duration::from_secs(9);
/// How long an operator's command may take to report after a signal.
const REPORT_WITHIN: Duration = Duration::from_secs(3);
/// The exit status after writing into a closed pipe, as shells report it: 128 + SIGPIPE.
const CLOSED_PIPE: i32 = 141;
/// The default log filter. The NATS client logs each connection attempt; `connection` logs each state.
const FILTER: &str = "info,async_nats=warn,async_nats::connector=off,poem=warn,sea_orm_migration=warn";

static LOG: OnceLock<Output> = OnceLock::new();

/// The log of a program. Dropping it writes the last lines.
#[must_use = "the last lines are written when this is dropped"]
#[derive(Debug)]
pub struct Logs(());

impl Drop for Logs {
    fn drop(&mut self) {
        flush_logs();
    }
}

/// Waits until the log is written, for at most half a second: its reader may be stuck.
pub fn flush_logs() {
    if let Some(log) = LOG.get() {
        log.flush(FLUSH);
    }
}

/// Returns the writer of logs: standard error, through a dedicated thread, so that a stuck reader blocks no caller.
fn log_writer(json: bool) -> BoxMakeWriter {
    let note = move |lost: u64| {
        let message = "lines of the log were lost because their reader was too slow";
        if json {
            let line = serde_json::json!({ "level": "WARN", "fields": { "message": message, "lines": lost } });
            format!("{line}\n")
        } else {
            format!("WARN {message} lines={lost}\n")
        }
    };
    match Output::to(std::io::stderr(), note) {
        Ok(output) => BoxMakeWriter::new(LOG.get_or_init(|| output).clone()),
        // A program without threads will fail soon; its error must still be visible.
        Err(_) => BoxMakeWriter::new(std::io::stderr),
    }
}

/// Writes logs to standard error: as text, or as one JSON object per line with `LOG_FORMAT=json`. `RUST_LOG` filters;
/// by default `info` of the project's crates and warnings of the libraries are written.
///
/// # Errors
///
/// If `RUST_LOG` or `LOG_FORMAT` has a value that is not supported.
pub fn init_logging() -> anyhow::Result<Logs> {
    let json = match variable("LOG_FORMAT")?.as_deref() {
        Some("json") => true,
        None | Some("text") => false,
        Some(other) => bail!("LOG_FORMAT: {other:?} is neither json nor text"),
    };
    let filter = match variable("RUST_LOG")? {
        Some(filter) => EnvFilter::try_new(&filter).with_context(|| {
            format!("RUST_LOG: {filter:?} is not a filter such as info or info,async_nats=debug")
        })?,
        None => EnvFilter::new(FILTER),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log_writer(json));
    let initialised = if json {
        builder.json().finish().with(filter_fn(has_no_bodies)).try_init()
    } else {
        let text = builder.with_ansi(std::io::stderr().is_terminal()).with_target(false);
        text.finish().with(filter_fn(has_no_bodies)).try_init()
    };
    // Fails only if a logger is already installed, as in tests.
    drop(initialised);
    Ok(Logs(()))
}

/// Returns whether log lines have no bodies of messages, whatever `RUST_LOG` says. The NATS client writes every body it
/// receives to its trace log, and a request may carry a password.
fn has_no_bodies(line: &tracing::Metadata<'_>) -> bool {
    *line.level() != tracing::Level::TRACE || !line.target().starts_with("async_nats")
}

/// Reads an environment variable that is not an option of the program.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) if value.trim().is_empty() => bail!("{name}: is empty; leave it out instead"),
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{name}: is not UTF-8"),
    }
}

/// Returns a token that is cancelled on SIGTERM or SIGINT.
///
/// The process then has 9 s to end by itself; after that it exits with status 0. A second signal ends it immediately,
/// with status 128 plus the signal's number. Both hold even if the runtime is blocked: a dedicated thread waits for the
/// signals.
///
/// # Errors
///
/// If signals cannot be received.
pub fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    let at_limit = |_| {
        tracing::warn!(
            "the shutdown reached its limit of 9 s and is cut short; nats-server redelivers unacknowledged messages, \
             and the next start publishes the pending messages of the outbox"
        );
        flush_logs();
        0
    };
    on_signal(END_WITHIN, |_| tracing::info!("shutting down"), at_limit)
}

/// A signal that ends an operator's command early.
#[derive(Debug, Clone)]
pub struct Interruption {
    /// Cancelled by SIGTERM or SIGINT.
    pub token: CancellationToken,
    /// The first signal.
    signal: Arc<OnceLock<SignalKind>>,
}

impl Interruption {
    /// Waits for SIGTERM or SIGINT from now on. After the first signal the command has 3 s to report its progress; a
    /// second signal ends it immediately. Both hold even if the output is not read.
    ///
    /// # Errors
    ///
    /// If signals cannot be received.
    pub fn watch() -> anyhow::Result<Self> {
        let signal = Arc::new(OnceLock::new());
        let first = signal.clone();
        let keep = move |kind| {
            first.get_or_init(|| kind);
        };
        let token = on_signal(REPORT_WITHIN, keep, |kind: SignalKind| 128 + kind.as_raw_value())?;
        Ok(Self { token, signal })
    }

    /// Returns the exit status of an interrupted command, as shells report it: 128 plus the signal's number.
    #[must_use]
    pub fn status(&self) -> Option<u8> {
        self.signal.get().and_then(|kind| u8::try_from(128 + kind.as_raw_value()).ok())
    }
}

/// Waits for signals on a dedicated thread. After the first one, `first` is called and the token cancelled; after
/// `limit` the process exits with the status that `at_limit` returns. A second signal ends it immediately.
fn on_signal(
    limit: Duration,
    first: impl FnOnce(SignalKind) + Send + 'static,
    at_limit: impl FnOnce(SignalKind) -> i32 + Send + 'static,
) -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? }
    };
    let wait = async move {
        let kind = signals.next().await;
        first(kind);
        cancelled.cancel();
        if let Ok(second) = tokio::time::timeout(limit, signals.next()).await {
            exit(128 + second.as_raw_value());
        }
        exit(at_limit(kind));
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(wait))?;
    Ok(token)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}

/// Prints a line to standard output. If its reader has closed the pipe (`| head`), the process exits silently with
/// status 141; if writing fails for another reason, with status 2.
pub fn print(line: impl Display) {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(CLOSED_PIPE),
        Err(error) => {
            print_error(format_args!("standard output cannot be written: {error}"));
            exit(2)
        }
    }
}

/// Prints a line to standard error; the line is lost if writing fails.
pub fn print_error(line: impl Display) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
