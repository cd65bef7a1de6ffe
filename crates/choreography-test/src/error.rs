//! The errors of finding, installing, starting, and stopping servers.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// A server could not be found, installed, started, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the error messages name the fields")]
pub enum Error {
    /// The server is not on this machine and could not be installed; the message has the next step.
    #[error("{server} was not found and could not be installed.\n{reasons}\nNext step: {remedy}")]
    NotInstalled { server: &'static str, reasons: String, remedy: String },

    /// The server that an environment variable names cannot be used.
    #[error("{variable} names {}, {reason}", path.display())]
    Unusable { variable: &'static str, path: PathBuf, reason: String },

    /// The server ended before it was ready. Its last lines usually have the reason.
    #[error("{server} ended ({status}) before it was ready; its last lines:\n{last_lines}")]
    EndedEarly { server: &'static str, status: ExitStatus, last_lines: String },

    /// The server runs but did not become ready in time.
    #[error("{server} was not ready after {waited:?}; its last lines:\n{last_lines}")]
    NotReady { server: &'static str, waited: Duration, last_lines: String },

    /// PostgreSQL refused a statement.
    #[error("PostgreSQL refused `{statement}`: {message}")]
    Refused { statement: String, message: String },

    /// The operating system refused an operation on a folder, a process, or a connection.
    #[error("{doing}")]
    Io {
        doing: String,
        #[source]
        source: io::Error,
    },
}

/// Adds the failed operation to an [`io::Error`].
pub(crate) trait Doing<T> {
    fn doing(self, operation: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, operation: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { doing: operation(), source })
    }
}
