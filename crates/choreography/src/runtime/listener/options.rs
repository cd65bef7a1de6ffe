//! The operator's settings for an HTTP server.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::setting::Args;

/// The soft limit on open files is raised to the hard one, up to this number.
const MAX_OPEN_FILES: u64 = 10_240;

/// The options of every HTTP server.
#[derive(Debug, Clone, Args)]
pub struct HttpOptions {
    /// Names besides `localhost`, `127.0.0.1`, and `[::1]` that clients may use in `Host`, separated by commas. A
    /// server that is bound to loopback always checks; any other server checks if this is set, and then also accepts IP
    /// addresses.
    #[arg(long, env = "ALLOWED_HOSTS", value_delimiter = ',', value_parser = crate::setting::host())]
    pub allowed_hosts: Vec<String>,
    /// Origins besides the server's own whose pages may send requests (`Origin`), such as `http://127.0.0.1:8900`,
    /// separated by commas.
    #[arg(long, env = "ALLOWED_ORIGINS", value_delimiter = ',', value_parser = crate::setting::origin())]
    pub allowed_origins: Vec<String>,
    /// The maximum number of open connections, from 1 to 65536; at most half of the limit on open files.
    #[arg(long, env = "HTTP_MAX_CONNECTIONS", default_value_t = 1024, value_parser = crate::setting::count(1..=65_536))]
    pub http_max_connections: usize,
    /// The time limit for a client to send its headers and its body, and between two requests, in seconds, from 1 to
    /// 3600.
    #[arg(long, env = "HTTP_READ_SECONDS", default_value_t = 30, value_parser = crate::setting::number(1..=3600))]
    pub http_read_seconds: u64,
    /// How long a client may read nothing of a response before it is disconnected, in seconds, from 1 to 3600.
    #[arg(long, env = "HTTP_WRITE_SECONDS", default_value_t = 30, value_parser = crate::setting::number(1..=3600))]
    pub http_write_seconds: u64,
    /// The path of a PEM file with the server's certificate, and after it those of its issuers. The server then requires
    /// TLS. A replaced file is read within seconds.
    #[arg(long, env = "TLS_CERT", value_parser = crate::setting::path())]
    pub tls_cert: Option<PathBuf>,
    /// The path of a PEM file with the private key of the server's certificate.
    #[arg(long, env = "TLS_KEY", value_parser = crate::setting::path())]
    pub tls_key: Option<PathBuf>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            http_max_connections: 1024,
            http_read_seconds: 30,
            http_write_seconds: 30,
            tls_cert: None,
            tls_key: None,
        }
    }
}

impl HttpOptions {
    /// Returns the maximum number of open connections: as configured, and at most half of the limit on open files.
    #[must_use]
    pub fn connections(&self) -> usize {
        connection_limit(self.http_max_connections, open_file_limit())
    }

    pub(super) fn read_limit(&self) -> Duration {
        Duration::from_secs(self.http_read_seconds)
    }

    pub(super) fn write_limit(&self) -> Duration {
        Duration::from_secs(self.http_write_seconds)
    }
}

/// Returns the maximum number of open connections; the other half of the files is for databases, the broker, logs.
#[must_use]
pub fn connection_limit(configured: usize, open_files: u64) -> usize {
    configured.min(usize::try_from(open_files / 2).unwrap_or(usize::MAX)).max(1)
}

/// Raises the soft limit on open files as far as the operating system allows without privileges, and returns it.
fn open_file_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return MAX_OPEN_FILES };
    let wanted = hard.min(MAX_OPEN_FILES);
    if soft >= wanted {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, soft, hard, "the limit on open files cannot be raised; fewer connections are served");
            soft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_at_most_half_of_the_open_files() {
        assert_eq!(connection_limit(1024, 10_240), 1024);
        assert_eq!(connection_limit(1024, 256), 128);
        assert_eq!(connection_limit(10, 256), 10);
        assert_eq!(connection_limit(1024, 1), 1);
    }
}
