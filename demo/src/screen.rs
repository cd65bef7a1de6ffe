//! The output of the demo: each line with its component, on the terminal and in a log file.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use choreography::output::Output;

/// How long the terminal may take to show the last lines.
const FLUSH: Duration = Duration::from_secs(1);

/// The terminal, and the log in the data folder.
pub struct Screen {
    colours: bool,
    path: PathBuf,
    log: Mutex<File>,
    /// It may be blocked (Ctrl-S, `| less`), which must not block the shop.
    terminal: Output,
}

impl Screen {
    /// Opens the terminal, and `demo.log` in a folder for appending.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("demo.log");
        let mut options = OpenOptions::new();
        let log = options
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("writing the log {}", path.display()))?;
        let kept = path.display().to_string();
        let note = move |lost| format!("{:<20} | … {lost} lines not shown; see {kept}\n", "demo");
        let terminal = Output::to(std::io::stdout(), note).context("starting to write to the terminal")?;
        Ok(Self { colours: std::io::stdout().is_terminal(), path, log: Mutex::new(log), terminal })
    }

    /// Returns the path of the log file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shows a line of a component.
    ///
    /// If the terminal or the disk cannot take the line, it is lost; the shop continues.
    pub fn show(&self, component: &str, line: &str) {
        let plain = format!("{component:<20} | {line}\n");
        let kept = self.log.lock().unwrap_or_else(PoisonError::into_inner).write_all(plain.as_bytes());
        kept.unwrap_or_default();
        let shown = if self.colours {
            format!("\x1b[{}m{component:<20} |\x1b[0m {line}\n", colour(component))
        } else {
            plain
        };
        self.terminal.line(shown.into_bytes());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.terminal.flush(FLUSH);
    }
}

/// Returns the colour of a component, as the parameter of an ANSI escape sequence.
fn colour(component: &str) -> &'static str {
    match component {
        "nats-server" => "90",
        "order-service" => "36",
        "inventory-service" => "35",
        "api-gateway" => "33",
        "account-service" => "34",
        "payment-service" => "31",
        "notification-service" => "95",
        "projection-service" => "94",
        "identity-service" => "96",
        "message" => "32",
        _ => "1",
    }
}
