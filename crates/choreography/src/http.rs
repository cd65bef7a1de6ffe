//! The HTTP client for this machine and for internal hosts.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// TLS of all clients. The certificates are read once, by the first client.
static TLS: LazyLock<Option<ClientConfig>> = LazyLock::new(|| {
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    Some(builder.with_root_certificates(trusted()).with_no_client_auth())
});

/// Returns a builder of clients for internal hosts, whose requests take at most `limit`.
///
/// It ignores the proxy variables of the environment and follows no redirect: a token for this machine stays here. With
/// `https`, it trusts the certificates of the system, or those of the file in `SSL_CERT_FILE` instead.
#[allow(clippy::disallowed_methods, reason = "the only place that creates clients")]
pub fn builder(limit: Duration) -> ClientBuilder {
    let builder = Client::builder().no_proxy().redirect(Policy::none()).timeout(limit);
    match &*TLS {
        Some(tls) => builder.tls_backend_preconfigured(tls.clone()),
        None => builder,
    }
}

/// Creates a client for internal hosts, as [`builder`] does.
///
/// # Errors
///
/// If the client cannot be created.
pub fn client(limit: Duration) -> anyhow::Result<Client> {
    builder(limit).build().context("creating an HTTP client")
}

/// Selects the cryptography of clients that others create, such as the exporter of traces. Without it they would panic.
#[cfg(feature = "otel")]
pub(crate) fn select_cryptography() {
    // Another one may be selected already.
    drop(ring::default_provider().install_default());
}

fn trusted() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    if let Some(error) = found.errors.first() {
        tracing::warn!(%error, "certificates cannot be read, and https with them fails; check SSL_CERT_FILE");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}
