//! What the terminal shows: each line marked with who says it, and kept in a file besides.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;

/// The terminal, and the log in the data folder.
pub struct Screen {
    colours: bool,
    path: PathBuf,
    log: Mutex<File>,
}

impl Screen {
    /// Begins to show, and to append to `demo.log` in a folder.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("demo.log");
        let mut options = OpenOptions::new();
        let log = options
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("writing the log {}", path.display()))?;
        Ok(Self { colours: std::io::stdout().is_terminal(), path, log: Mutex::new(log) })
    }

    /// Returns where the lines are kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shows a line.
    ///
    /// A terminal or a disk that takes no more is no reason to stop the store: such a line is lost.
    pub fn show(&self, who: &str, line: &str) {
        let mut out = std::io::stdout().lock();
        let shown = if self.colours {
            writeln!(out, "\x1b[{}m{who:<20} |\x1b[0m {line}", colour(who))
        } else {
            writeln!(out, "{who:<20} | {line}")
        };
        let kept = writeln!(self.log.lock().unwrap_or_else(PoisonError::into_inner), "{who:<20} | {line}");
        drop((shown, kept));
    }
}

/// Returns the colour of a speaker, as the parameter of an ANSI escape sequence.
fn colour(who: &str) -> &'static str {
    match who {
        "nats-server" => "90",
        "order-service" => "36",
        "inventory-service" => "35",
        "api-gateway" => "33",
        "account-service" => "34",
        "payment-service" => "31",
        "notification-service" => "95",
        "message" => "32",
        _ => "1",
    }
}
