//! Files that settings name: certificates, keys, and secrets.

use std::fmt::Display;
use std::path::Path;

use anyhow::anyhow;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// The largest file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A file, and the setting that names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File<'a> {
    pub(crate) setting: &'static str,
    pub(crate) path: &'a Path,
    /// The expected content, for errors.
    pub(crate) content: &'static str,
}

impl<'a> File<'a> {
    pub(crate) fn certificates(setting: &'static str, path: &'a Path) -> Self {
        Self { setting, path, content: "certificates in PEM" }
    }

    pub(crate) fn private_key(setting: &'static str, path: &'a Path) -> Self {
        Self { setting, path, content: "a private key in PEM" }
    }

    /// Returns the error that the file cannot be used, with the remedy.
    pub(crate) fn unusable(&self, why: impl Display) -> anyhow::Error {
        let Self { setting, path, content } = self;
        anyhow!("{setting} ({}): {why}; name a readable file with {content}", path.display())
    }

    /// Reads the file, of at most 1 MiB.
    pub(crate) fn read(&self) -> anyhow::Result<Vec<u8>> {
        let found = std::fs::metadata(self.path).map_err(|error| self.unusable(error))?;
        if !found.is_file() || found.len() > MAX_BYTES {
            return Err(self.unusable("is not a file of at most 1 MiB"));
        }
        std::fs::read(self.path).map_err(|error| self.unusable(error))
    }

    /// Reads a text without the white space around it, such as the end of its line.
    pub(crate) fn read_text(&self) -> anyhow::Result<String> {
        let text = String::from_utf8(self.read()?).map_err(|_| self.unusable("is not a text in UTF-8"))?;
        match text.trim() {
            "" => Err(self.unusable("is empty")),
            text => Ok(text.to_owned()),
        }
    }

    /// Reads the certificates of a PEM file, at least one.
    pub(crate) fn read_certificates(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let pem = self.read()?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match found {
            Ok(found) if found.is_empty() => Err(self.unusable("has no certificate")),
            Ok(found) => Ok(found),
            Err(error) => Err(self.unusable(error)),
        }
    }
}

/// Reads a certificate, with those of its issuers, and its key.
///
/// # Errors
///
/// If a file is not usable, or the key is not that of the certificate.
pub(crate) fn certified_key(cert: File<'_>, key: File<'_>) -> anyhow::Result<CertifiedKey> {
    let chain = cert.read_certificates()?;
    let private =
        PrivateKeyDer::from_pem_slice(&key.read()?).map_err(|_| key.unusable("has no unencrypted private key"))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| {
        anyhow!(
            "{} ({}) is not the key of {} ({}): {error}; name the certificate and its own key",
            key.setting,
            key.path.display(),
            cert.setting,
            cert.path.display()
        )
    })
}
