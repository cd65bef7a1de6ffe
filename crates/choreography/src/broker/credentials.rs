//! Credentials for nats-server: token, NKey, or `.creds` file instead of a password, and the files of TLS.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use async_nats::ConnectOptions;
use async_nats::rustls::RootCertStore;
use async_nats::rustls::crypto::ring;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::sign::CertifiedKey;

use crate::setting::{self, Args};

/// The largest credentials file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

const PASSWORD: &str = "NATS_PASSWORD";
const TOKEN: &str = "NATS_TOKEN";
const NKEY_SEED: &str = "NATS_NKEY_SEED";
const CREDS: &str = "NATS_CREDS";
const CA_FILE: &str = "NATS_CA_FILE";
const CLIENT_CERT: &str = "NATS_CLIENT_CERT";
const CLIENT_KEY: &str = "NATS_CLIENT_KEY";

/// The program's credentials other than a password, and the files of TLS.
///
/// At most one of password, token, NKey, and `.creds` file may be set. A file of TLS makes TLS mandatory.
#[derive(Clone, Default, Args)]
pub struct NatsCredentials {
    /// The token, if the server authenticates by token.
    #[arg(long, env = "NATS_TOKEN", hide_env_values = true, value_parser = setting::secret())]
    pub nats_token: Option<String>,
    /// The seed of the user's NKey; begins with SU.
    #[arg(long, env = "NATS_NKEY_SEED", hide_env_values = true, value_parser = setting::nkey_seed())]
    pub nats_nkey_seed: Option<String>,
    /// The path of the user's `.creds` file, with its JWT and NKey.
    #[arg(long, env = "NATS_CREDS", value_parser = setting::path())]
    pub nats_creds: Option<PathBuf>,
    /// The path of a PEM file with the CA certificates to trust instead of those of the system; requires TLS.
    #[arg(long, env = "NATS_CA_FILE", value_parser = setting::path())]
    pub nats_ca_file: Option<PathBuf>,
    /// The path of a PEM file with the client's certificate; requires TLS.
    #[arg(long, env = "NATS_CLIENT_CERT", value_parser = setting::path())]
    pub nats_client_cert: Option<PathBuf>,
    /// The path of a PEM file with the private key of the client's certificate.
    #[arg(long, env = "NATS_CLIENT_KEY", value_parser = setting::path())]
    pub nats_client_key: Option<PathBuf>,
}

impl std::fmt::Debug for NatsCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsCredentials")
            .field("nats_creds", &self.nats_creds)
            .field("nats_ca_file", &self.nats_ca_file)
            .field("nats_client_cert", &self.nats_client_cert)
            .finish_non_exhaustive()
    }
}

impl NatsCredentials {
    /// Returns whether a token, NKey, or `.creds` file is set, so that a password must not be.
    #[must_use]
    pub fn replace_password(&self) -> bool {
        self.nats_token.is_some() || self.nats_nkey_seed.is_some() || self.nats_creds.is_some()
    }

    /// Returns whether a file of TLS is set.
    pub(crate) fn require_tls(&self) -> bool {
        self.nats_ca_file.is_some() || self.nats_client_cert.is_some()
    }

    /// Returns only the files of TLS, for another user of the same server.
    #[must_use]
    pub fn tls_only(self) -> Self {
        Self { nats_token: None, nats_nkey_seed: None, nats_creds: None, ..self }
    }

    /// Adds credentials and TLS to `connect`. Returns also the settings to check if the server rejects the user.
    ///
    /// # Errors
    ///
    /// If settings exclude each other, or if a file is not usable. The error contains no secret.
    pub(crate) fn apply(
        &self,
        connect: ConnectOptions,
        user: &str,
        password: Option<&str>,
    ) -> anyhow::Result<(ConnectOptions, String)> {
        let set = [
            (PASSWORD, password.is_some()),
            (TOKEN, self.nats_token.is_some()),
            (NKEY_SEED, self.nats_nkey_seed.is_some()),
            (CREDS, self.nats_creds.is_some()),
        ];
        let set: Vec<&str> = set.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect();
        if set.len() > 1 {
            bail!("{} exclude each other; keep one of them", set.join(" and "));
        }
        let connect = self.with_tls(connect)?;
        if let Some(token) = &self.nats_token {
            Ok((connect.token(token.clone()), TOKEN.to_owned()))
        } else if let Some(seed) = &self.nats_nkey_seed {
            let key = setting::parse_nkey_seed(seed).map_err(|why| anyhow!("{NKEY_SEED} {why}"))?;
            Ok((connect.nkey(seed.clone()), format!("{NKEY_SEED} (public key {})", key.public_key())))
        } else if let Some(path) = &self.nats_creds {
            let creds = String::from_utf8_lossy(&read(CREDS, path)?).into_owned();
            let connect = connect.credentials(&creds).map_err(|error| unusable(CREDS, path, error))?;
            Ok((connect, format!("{CREDS} ({})", path.display())))
        } else {
            let connect = match password {
                Some(password) => connect.user_and_password(user.to_owned(), password.to_owned()),
                None => connect,
            };
            Ok((connect, format!("NATS_USER ({user}) and {PASSWORD}")))
        }
    }

    /// Adds the files of TLS. The client reads them again for each connection, so they may be replaced in operation.
    fn with_tls(&self, mut connect: ConnectOptions) -> anyhow::Result<ConnectOptions> {
        if let Some(path) = &self.nats_ca_file {
            for certificate in certificates(CA_FILE, path)? {
                RootCertStore::empty().add(certificate).map_err(|error| unusable(CA_FILE, path, error))?;
            }
            connect = connect.add_root_certificates(path.clone()).require_tls(true);
        }
        match (&self.nats_client_cert, &self.nats_client_key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(CLIENT_CERT, cert)?;
                let private = PrivateKeyDer::from_pem_slice(&read(CLIENT_KEY, key)?)
                    .map_err(|_| unusable(CLIENT_KEY, key, "has no unencrypted private key"))?;
                CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| {
                    let (cert, key) = (cert.display(), key.display());
                    anyhow!(
                        "{CLIENT_KEY} ({key}) is not the key of {CLIENT_CERT} ({cert}): {error}; name the \
                         certificate and its own key"
                    )
                })?;
                Ok(connect.add_client_certificate(cert.clone(), key.clone()).require_tls(true))
            }
            (None, None) => Ok(connect),
            (Some(_), None) => bail!("{CLIENT_CERT} is set without {CLIENT_KEY}; set both or neither"),
            (None, Some(_)) => bail!("{CLIENT_KEY} is set without {CLIENT_CERT}; set both or neither"),
        }
    }
}

/// Reads the certificates of a PEM file, at least one.
fn certificates(setting: &str, path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = read(setting, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable(setting, path, "has no certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(setting, path, error)),
    }
}

/// Reads a file of at most [`MAX_FILE_BYTES`].
fn read(setting: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let found = std::fs::metadata(path).map_err(|error| unusable(setting, path, error))?;
    if !found.is_file() || found.len() > MAX_FILE_BYTES {
        return Err(unusable(setting, path, "is not a file of at most 1 MiB"));
    }
    std::fs::read(path).map_err(|error| unusable(setting, path, error))
}

/// Returns the error about a file that cannot be used, with the remedy.
fn unusable(setting: &str, path: &Path, why: impl Display) -> anyhow::Error {
    let content = match setting {
        CREDS => "a user's JWT and NKey, as nsc writes it",
        CLIENT_KEY => "a private key in PEM",
        _ => "certificates in PEM",
    };
    anyhow!("{setting} ({}): {why}; name a readable file with {content}", path.display())
}
