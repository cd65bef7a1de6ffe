//! The HTTP client for this machine and for internal hosts.

use std::time::Duration;

use anyhow::Context;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

/// Returns a builder of clients for internal hosts, whose requests take at most `limit`.
///
/// It ignores the proxy variables of the environment and follows no redirect: a token for this machine stays here.
#[allow(clippy::disallowed_methods, reason = "the only place that creates clients")]
pub fn builder(limit: Duration) -> ClientBuilder {
    Client::builder().no_proxy().redirect(Policy::none()).timeout(limit)
}

/// Creates a client for internal hosts, as [`builder`] does.
///
/// # Errors
///
/// If the client cannot be created.
pub fn client(limit: Duration) -> anyhow::Result<Client> {
    builder(limit).build().context("creating an HTTP client")
}
