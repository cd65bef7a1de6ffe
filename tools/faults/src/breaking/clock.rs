//! A shifted clock for one process, by libfaketime.

use std::path::PathBuf;

/// The library libfaketime.
#[derive(Debug, Clone)]
pub struct Clock {
    library: PathBuf,
}

impl Clock {
    /// Finds the library; `None` if it is not installed.
    #[must_use]
    pub fn find() -> Option<Self> {
        ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib"]
            .into_iter()
            .map(|folder| PathBuf::from(folder).join("faketime/libfaketime.so.1"))
            .find(|library| library.is_file())
            .map(|library| Self { library })
    }

    /// Returns the variables that set a process's clock so many seconds ahead. Only the wall clock moves: intervals
    /// keep their length.
    #[must_use]
    pub fn variables(&self, ahead: i64) -> Vec<(String, String)> {
        vec![
            ("LD_PRELOAD".to_owned(), self.library.display().to_string()),
            ("FAKETIME".to_owned(), format!("{ahead:+}s")),
            ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ]
    }
}
