//! The HTTP client for this machine and for internal hosts.

use std::time::Duration;

use anyhow::Context;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

/// Begins to make a client for internal hosts, whose requests take at most `limit`.
///
/// It ignores the proxy variables of the environment and follows no redirect: a token for this machine does not leave it.
#[allow(clippy::disallowed_methods, reason = "the one place that makes clients")]
pub fn builder(limit: Duration) -> ClientBuilder {
    Client::builder().no_proxy().redirect(Policy::none()).timeout(limit)
}

/// Makes a client for internal hosts, as [`builder`] does.
///
/// # Errors
///
/// If the client cannot be made.
pub fn client(limit: Duration) -> anyhow::Result<Client> {
    builder(limit).build().context("making an HTTP client")
}
