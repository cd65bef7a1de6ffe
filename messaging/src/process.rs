//! What a program needs around its service: logs, signals, and an allocator.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::output::Output;

/// A batch is many small allocations that live as long as the batch. glibc's allocator spends a fifth of a service on
/// them; this one does not, and gives back what a burst needed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the log may take for its last lines when a program ends.
const FLUSH: Duration = Duration::from_secs(1);

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

/// Waits until the log is written, for 1 s at most: its reader may stand still.
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

/// Writes logs to standard error: as text, or as a JSON object a line with `LOG_FORMAT=json`. `RUST_LOG` filters;
/// without it, `info` of our own and warnings of
/// the libraries.
pub fn init_logging() -> Logs {
    let json = std::env::var("LOG_FORMAT").is_ok_and(|format| format == "json");
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn,poem=warn,sea_orm_migration=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log_writer(json));
    let initialised = if json {
        builder.json().try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
    };
    // Fails only where logs go somewhere already, as in tests.
    drop(initialised);
    Logs(())
}

/// Returns a token that is cancelled on SIGTERM or SIGINT.
///
/// # Errors
///
/// Where the signals cannot be listened to.
pub fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down");
        cancelled.cancel();
    });
    Ok(token)
}
