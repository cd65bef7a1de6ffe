//! What a program needs around its service: logs, signals, output, and an allocator.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::exit;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::output::Output;

/// A batch is many small allocations that live as long as the batch. glibc's allocator spends a fifth of a service on
/// them; this one does not, and gives back what a burst needed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the log may take for its last lines when a program ends.
const FLUSH: Duration = Duration::from_millis(500);
/// How long a process may take to end after a signal, whatever it does. Container runtimes kill after 10 s.
const END_WITHIN: Duration = Duration::from_secs(9);
/// How long an operator's command may take to report after a signal.
const REPORT_WITHIN: Duration = Duration::from_secs(3);
/// The status of a process that writes into a closed pipe, as a shell reports it: 128 + SIGPIPE.
const CLOSED_PIPE: i32 = 141;
/// What is logged unless `RUST_LOG` says otherwise. The NATS client logs each try to connect; `connection` logs each state.
const FILTER: &str = "info,async_nats=warn,async_nats::connector=off,poem=warn,sea_orm_migration=warn";

static LOG: OnceLock<Output> = OnceLock::new();

/// The log of a program. Dropped at its end, it writes the last lines.
#[must_use = "the last lines are written when this is dropped"]
#[derive(Debug)]
pub struct Logs(());

impl Drop for Logs {
    fn drop(&mut self) {
        flush_logs();
    }
}

/// Waits until the log is written, for half a second at most: its reader may stand still.
pub fn flush_logs() {
    if let Some(log) = LOG.get() {
        log.flush(FLUSH);
    }
}

/// Returns where logs go: to standard error by a thread of its own, so that a reader that stands still stops nothing.
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
        // Without a thread the program will not come far; it can still say so.
        Err(_) => BoxMakeWriter::new(std::io::stderr),
    }
}

/// Writes logs to standard error: as text, or as one JSON object per line with `LOG_FORMAT=json`. `RUST_LOG` filters;
/// without it, `info` of our own and warnings of the libraries are written.
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
        builder.json().try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
    };
    // Fails only if logs go somewhere already, as in tests.
    drop(initialised);
    Ok(Logs(()))
}

/// Reads a variable of the environment that is not an option of the program.
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
/// From then on the process has 9 s to end by itself; after that it ends with status 0, whatever hangs. A second signal
/// ends it at once, with status 128 and the signal's number. Both hold even if the runtime is blocked: a thread of its own
/// waits for the signals.
///
/// # Errors
///
/// If signals cannot be received.
pub fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    let at_limit = |_| {
        tracing::warn!(
            "the shutdown reached its limit of 9 s and is cut short; nats-server delivers again what was not acknowledged, \
             and the next start publishes what the outbox holds"
        );
        flush_logs();
        0
    };
    on_signal(END_WITHIN, |_| tracing::info!("shutting down"), at_limit)
}

/// A signal that ends an operator's command before it is done.
#[derive(Debug, Clone)]
pub struct Interruption {
    /// Cancelled by SIGTERM or SIGINT.
    pub token: CancellationToken,
    /// The first signal.
    signal: Arc<OnceLock<SignalKind>>,
}

impl Interruption {
    /// Waits for SIGTERM or SIGINT from now on. After the first one the command has 3 s to report what is done and what is
    /// not; a second one ends it at once. Both hold even if the output is not read.
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

    /// Returns the exit status of a command that was interrupted, as a shell reports it: 128 and the signal's number.
    #[must_use]
    pub fn status(&self) -> Option<u8> {
        self.signal.get().and_then(|kind| u8::try_from(128 + kind.as_raw_value()).ok())
    }
}

/// Waits for signals on a thread of its own. After the first one `first` is called and the token cancelled; after `limit`
/// the process ends with the status that `at_limit` returns. A second signal ends it at once.
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

/// Prints a line to standard output. If its reader has closed the pipe (`| head`), the process ends quietly with status
/// 141; if it cannot be written for another reason, with status 2.
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

/// Prints a line to standard error; it is lost if nobody reads it.
pub fn print_error(line: impl Display) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
