//! What can go wrong between wanting a server and having one.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// A server could not be found, installed, started or ended.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the message above them is made of")]
pub enum Error {
    /// The server is not on this machine and could not be installed; the text says what to do.
    #[error("{server} was not found and could not be installed.\n{reasons}\nTo go on: {remedy}")]
    NotInstalled { server: &'static str, reasons: String, remedy: String },

    /// The server that an environment variable names cannot be used.
    #[error("{variable} names {}, {reason}", path.display())]
    Unusable { variable: &'static str, path: PathBuf, reason: String },

    /// The server ended before it was ready. Its own last lines usually say why.
    #[error("{server} ended ({status}) before it was ready; its last lines:\n{last_lines}")]
    EndedEarly { server: &'static str, status: ExitStatus, last_lines: String },

    /// The server runs but did not become ready in time.
    #[error("{server} was not ready after {waited:?}; its last lines:\n{last_lines}")]
    NotReady { server: &'static str, waited: Duration, last_lines: String },

    /// PostgreSQL answered a statement with an error.
    #[error("PostgreSQL refused `{statement}`: {message}")]
    Refused { statement: String, message: String },

    /// The machine refused something: a folder, a process, a connection.
    #[error("{doing}")]
    Io {
        doing: String,
        #[source]
        source: io::Error,
    },
}

/// Says what was being done when an [`io::Error`] happened.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { doing: what(), source })
    }
}
