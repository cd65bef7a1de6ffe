//! What the terminal shows: each line marked with who says it, and kept in a file besides.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use messaging::output::Output;

/// How long the terminal may take for its last lines.
const FLUSH: Duration = Duration::from_secs(1);

/// The terminal, and the log in the data folder.
pub struct Screen {
    colours: bool,
    path: PathBuf,
    log: Mutex<File>,
    /// Nobody may be reading it (Ctrl-S, `| less`), and that stops nothing.
    terminal: Output,
}

impl Screen {
    /// Begins to show, and to append to `demo.log` in a folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("demo.log");
        let mut options = OpenOptions::new();
        let log = options
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("writing the log {}", path.display()))?;
        let kept = path.display().to_string();
        let note = move |lost| format!("{:<20} | … {lost} lines not shown; {kept} has them\n", "demo");
        let terminal = Output::to(std::io::stdout(), note).context("starting to write to the terminal")?;
        Ok(Self { colours: std::io::stdout().is_terminal(), path, log: Mutex::new(log), terminal })
    }

    /// Returns where the lines are kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shows a line.
    ///
    /// A terminal or a disk that takes no more is no reason to stop the shop: such a line is lost.
    pub fn show(&self, who: &str, line: &str) {
        let plain = format!("{who:<20} | {line}\n");
        let kept = self.log.lock().unwrap_or_else(PoisonError::into_inner).write_all(plain.as_bytes());
        kept.unwrap_or_default();
        let shown = if self.colours { format!("\x1b[{}m{who:<20} |\x1b[0m {line}\n", colour(who)) } else { plain };
        self.terminal.line(shown.into_bytes());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.terminal.flush(FLUSH);
    }
}

/// Returns the colour of a producer, as the parameter of an ANSI escape sequence.
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
