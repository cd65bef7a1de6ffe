//! Credentials for nats-server: token, NKey, or `.creds` file instead of a password, and the files of TLS.
//!
//! The files of a password and of a seed are read for each connection. So a secret can be replaced in operation: replace
//! the file, then the entry in the server's configuration, and reload that; the server closes the connections with the
//! earlier secret, and the clients reconnect with the new one.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use async_nats::rustls::RootCertStore;
use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;

use crate::setting::files::{File, certified_key};
use crate::setting::{self, Args};

const PASSWORD: &str = "NATS_PASSWORD";
const PASSWORD_FILE: &str = "NATS_PASSWORD_FILE";
const TOKEN: &str = "NATS_TOKEN";
const NKEY_SEED: &str = "NATS_NKEY_SEED";
const NKEY_FILE: &str = "NATS_NKEY_FILE";
const CREDS: &str = "NATS_CREDS";
const CA_FILE: &str = "NATS_CA_FILE";
const CLIENT_CERT: &str = "NATS_CLIENT_CERT";
const CLIENT_KEY: &str = "NATS_CLIENT_KEY";

/// The program's credentials other than a password, and the files of TLS.
///
/// At most one of password, token, NKey, and `.creds` file may be set, the files of password and seed included. A file of TLS makes TLS mandatory.
#[derive(Clone, Default, Args)]
pub struct NatsCredentials {
    /// The token, if the server authenticates by token.
    #[arg(long, env = "NATS_TOKEN", hide_env_values = true, value_parser = setting::secret())]
    pub nats_token: Option<String>,
    /// The seed of the user's NKey; begins with SU.
    #[arg(long, env = "NATS_NKEY_SEED", hide_env_values = true, value_parser = setting::nkey_seed())]
    pub nats_nkey_seed: Option<String>,
    /// The path of a file with the seed of the user's NKey, or of a folder with the file `<user>.nk`; read for each
    /// connection.
    #[arg(long, env = "NATS_NKEY_FILE", value_parser = setting::path())]
    pub nats_nkey_file: Option<PathBuf>,
    /// The path of a file with the user's password, or of a folder with the file `<user>.password`; read for each
    /// connection.
    #[arg(long, env = "NATS_PASSWORD_FILE", value_parser = setting::path())]
    pub nats_password_file: Option<PathBuf>,
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
            .field("nats_nkey_file", &self.nats_nkey_file)
            .field("nats_password_file", &self.nats_password_file)
            .field("nats_creds", &self.nats_creds)
            .field("nats_ca_file", &self.nats_ca_file)
            .field("nats_client_cert", &self.nats_client_cert)
            .finish_non_exhaustive()
    }
}

impl NatsCredentials {
    /// Returns whether a token, NKey, `.creds` file, or file of a password is set, so that a password must not be.
    #[must_use]
    pub fn replace_password(&self) -> bool {
        self.nats_token.is_some()
            || self.nats_nkey_seed.is_some()
            || self.nats_nkey_file.is_some()
            || self.nats_password_file.is_some()
            || self.nats_creds.is_some()
    }

    /// Returns whether a file of TLS is set.
    pub(crate) fn require_tls(&self) -> bool {
        self.nats_ca_file.is_some() || self.nats_client_cert.is_some()
    }

    /// Returns only the files of TLS, for another user of the same server.
    #[must_use]
    pub fn tls_only(self) -> Self {
        Self {
            nats_ca_file: self.nats_ca_file,
            nats_client_cert: self.nats_client_cert,
            nats_client_key: self.nats_client_key,
            ..Self::default()
        }
    }

    /// Returns options with credentials and TLS, and the settings to check if the server rejects the user.
    ///
    /// # Errors
    ///
    /// If settings exclude each other, or if a file is not usable. The error contains no secret.
    pub(crate) fn options(&self, user: &str, password: Option<&str>) -> anyhow::Result<(ConnectOptions, String)> {
        self.check_single(password)?;
        let (connect, settings) = self.authenticated(user, password)?;
        Ok((self.with_tls(connect)?, settings))
    }

    /// Checks that at most one kind of credentials is set.
    fn check_single(&self, password: Option<&str>) -> anyhow::Result<()> {
        let set = [
            (PASSWORD, password.is_some()),
            (PASSWORD_FILE, self.nats_password_file.is_some()),
            (TOKEN, self.nats_token.is_some()),
            (NKEY_SEED, self.nats_nkey_seed.is_some()),
            (NKEY_FILE, self.nats_nkey_file.is_some()),
            (CREDS, self.nats_creds.is_some()),
        ];
        let set: Vec<&str> = set.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect();
        if set.len() > 1 {
            bail!("{} exclude each other; keep one of them", set.join(" and "));
        }
        Ok(())
    }

    /// Returns options with credentials, and the settings to check if the server rejects the user.
    fn authenticated(&self, user: &str, password: Option<&str>) -> anyhow::Result<(ConnectOptions, String)> {
        if let Some(token) = &self.nats_token {
            Ok((ConnectOptions::with_token(token.clone()), TOKEN.to_owned()))
        } else if let Some(seed) = &self.nats_nkey_seed {
            let key = setting::parse_nkey_seed(seed).map_err(|why| anyhow!("{NKEY_SEED} {why}"))?;
            let settings = format!("{NKEY_SEED} (public key {})", key.public_key());
            Ok((ConnectOptions::with_nkey(seed.clone()), settings))
        } else if let Some(path) = &self.nats_nkey_file {
            let path = of_user(path, user, "nk");
            let settings =
                format!("{NKEY_FILE} ({}, public key {})", path.display(), read_seed(&path)?.public_key());
            let connect = ConnectOptions::with_auth_callback(move |nonce| {
                let signed = sign(&path, &nonce);
                async move { signed }
            });
            Ok((connect, settings))
        } else if let Some(path) = &self.nats_password_file {
            let (user, path) = (user.to_owned(), of_user(path, user, "password"));
            read_password(&path)?;
            let settings = format!("NATS_USER ({user}) and {PASSWORD_FILE} ({})", path.display());
            let connect = ConnectOptions::with_auth_callback(move |_| {
                let mut auth = Auth::new();
                auth.username = Some(user.clone());
                let password = read_password(&path).map_err(AuthError::new);
                async move {
                    auth.password = Some(password?);
                    Ok(auth)
                }
            });
            Ok((connect, settings))
        } else if let Some(path) = &self.nats_creds {
            let file = File { setting: CREDS, path, content: "a user's JWT and NKey, as nsc writes it" };
            let creds = String::from_utf8_lossy(&file.read()?).into_owned();
            let connect = ConnectOptions::with_credentials(&creds).map_err(|error| file.unusable(error))?;
            Ok((connect, format!("{CREDS} ({})", path.display())))
        } else {
            let connect = match password {
                Some(password) => ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned()),
                None => ConnectOptions::new(),
            };
            Ok((connect, format!("NATS_USER ({user}) and {PASSWORD}")))
        }
    }

    /// Adds the files of TLS. The client reads them again for each connection, so they may be replaced in operation.
    fn with_tls(&self, mut connect: ConnectOptions) -> anyhow::Result<ConnectOptions> {
        if let Some(path) = &self.nats_ca_file {
            let file = File::certificates(CA_FILE, path);
            for certificate in file.read_certificates()? {
                RootCertStore::empty().add(certificate).map_err(|error| file.unusable(error))?;
            }
            connect = connect.add_root_certificates(path.clone()).require_tls(true);
        }
        match (&self.nats_client_cert, &self.nats_client_key) {
            (Some(cert), Some(key)) => {
                certified_key(File::certificates(CLIENT_CERT, cert), File::private_key(CLIENT_KEY, key))?;
                Ok(connect.add_client_certificate(cert.clone(), key.clone()).require_tls(true))
            }
            (None, None) => Ok(connect),
            (Some(_), None) => bail!("{CLIENT_CERT} is set without {CLIENT_KEY}; set both or neither"),
            (None, Some(_)) => bail!("{CLIENT_KEY} is set without {CLIENT_CERT}; set both or neither"),
        }
    }
}

/// Returns the file of a user, if `path` is a folder of files.
fn of_user(path: &Path, user: &str, extension: &str) -> PathBuf {
    if path.is_dir() { path.join(format!("{user}.{extension}")) } else { path.to_owned() }
}

/// Reads the seed of an NKey.
fn read_seed(path: &Path) -> anyhow::Result<KeyPair> {
    let file = File { setting: NKEY_FILE, path, content: "the seed of the user's NKey" };
    setting::parse_nkey_seed(&file.read_text()?).map_err(|why| file.unusable(why))
}

fn read_password(path: &Path) -> anyhow::Result<String> {
    File { setting: PASSWORD_FILE, path, content: "the user's password" }.read_text()
}

/// Signs the server's nonce with the key that is in the file now.
fn sign(path: &Path, nonce: &[u8]) -> Result<Auth, AuthError> {
    let key = read_seed(path).map_err(AuthError::new)?;
    let mut auth = Auth::new();
    auth.signature = Some(key.sign(nonce).map_err(AuthError::new)?);
    auth.nkey = Some(key.public_key());
    Ok(auth)
}
