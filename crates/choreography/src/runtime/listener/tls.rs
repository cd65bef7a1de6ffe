//! TLS of the server: certificate and key are files, read again when they change.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::options::HttpOptions;
use crate::setting::files::{File, certified_key};
use crate::telemetry::health::Health;

const CERT: &str = "TLS_CERT";
const KEY: &str = "TLS_KEY";
/// The [`Health`] part for a replaced certificate.
const CERTIFICATE: &str = "http-certificate";
/// The interval between checks for a replaced certificate.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The certificate of a server, and its files.
#[derive(Clone)]
pub(super) struct Tls {
    cert: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads the certificate and its key; `None` if none is configured.
    ///
    /// # Errors
    ///
    /// If only one of them is configured, a file is not usable, or the key is another one's.
    pub(super) fn configured(options: &HttpOptions) -> anyhow::Result<Option<Self>> {
        let (cert, key) = match (&options.tls_cert, &options.tls_key) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            (Some(_), None) => bail!("{CERT} is set without {KEY}; set both or neither"),
            (None, Some(_)) => bail!("{KEY} is set without {CERT}; set both or neither"),
        };
        let current = Arc::new(Current(RwLock::new(Arc::new(read(&cert, &key)?))));
        let builder = ServerConfig::builder_with_provider(ring::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().context("choosing the versions of TLS")?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self { cert, key, current, acceptor: TlsAcceptor::from(Arc::new(config)) }))
    }

    /// Returns the acceptor of connections, each with the certificate at its time.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Replaces the certificate when its files change. An unusable one is reported, and the current one is kept until a
    /// later attempt succeeds: the second of the two files, or a free file descriptor, may follow in a moment.
    pub(super) async fn follow(self, health: Option<Health>) {
        let (mut known, mut failed) = (self.states(), false);
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let found = self.states();
            if found == known {
                continue;
            }
            match read(&self.cert, &self.key) {
                Ok(read) => {
                    *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
                    tracing::info!(certificate = %self.cert.display(), "the certificate was replaced");
                    if let Some(health) = &health {
                        health.ok(CERTIFICATE);
                    }
                    (known, failed) = (found, false);
                }
                Err(error) => {
                    let detail = format!("the replaced certificate is not used: {error:#}");
                    match &health {
                        Some(health) => health.failed(CERTIFICATE, detail),
                        None if !failed => tracing::warn!(detail, "the earlier certificate stays in use"),
                        None => {}
                    }
                    failed = true;
                }
            }
        }
    }

    fn states(&self) -> [Option<State>; 2] {
        [State::of(&self.cert), State::of(&self.key)]
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("cert", &self.cert).finish_non_exhaustive()
    }
}

fn read(cert: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    certified_key(File::certificates(CERT, cert), File::private_key(KEY, key))
}

/// What changes if a file is replaced or written.
#[derive(PartialEq, Eq)]
struct State {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl State {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self { inode: found.ino(), bytes: found.len(), modified: (found.mtime(), found.mtime_nsec()) })
    }
}

/// The certificate in use.
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}
