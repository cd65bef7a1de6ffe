//! Another time for one process, by libfaketime.

use std::path::PathBuf;

/// The library that does it.
#[derive(Debug, Clone)]
pub struct Clock {
    library: PathBuf,
}

impl Clock {
    /// Finds the library; `None` where it is not installed.
    #[must_use]
    pub fn find() -> Option<Self> {
        ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib"]
            .into_iter()
            .map(|folder| PathBuf::from(folder).join("faketime/libfaketime.so.1"))
            .find(|library| library.is_file())
            .map(|library| Self { library })
    }

    /// Returns what a process must be told for its clock to be so many seconds ahead. Only the calendar moves: intervals
    /// stay as long as they are.
    #[must_use]
    pub fn variables(&self, ahead: i64) -> Vec<(String, String)> {
        vec![
            ("LD_PRELOAD".to_owned(), self.library.display().to_string()),
            ("FAKETIME".to_owned(), format!("{ahead:+}s")),
            ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ]
    }
}
