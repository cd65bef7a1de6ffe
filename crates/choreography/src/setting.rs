//! Parsers of settings: every external setting is checked once, at the start.
//!
//! A refused setting is reported with its option, its variable, the value, and the allowed values. A value that may
//! contain a secret is never repeated. Parsed values cannot overflow: a time span has at most ten years.

mod database;
pub(crate) mod files;
#[cfg(feature = "cli")]
mod parser;

use std::borrow::Cow;

use nkeys::KeyPair;
use reqwest::Url;

pub(crate) use database::check_database_url;
pub use database::sqlite_url;
#[cfg(feature = "cli")]
pub use parser::*;

#[cfg(not(feature = "cli"))]
pub(crate) use choreography_derive::{NoOptions as Args, NoOptions as ValueEnum};
/// The derive macros of clap for options. Without the feature `cli`, options are plain structs.
#[cfg(feature = "cli")]
pub(crate) use clap::{Args, ValueEnum};

/// The longest time span of any setting, in seconds: ten years.
pub const MAX_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// Parses the seed of a user's NKey; errors repeat no part of it.
pub(crate) fn parse_nkey_seed(text: &str) -> Result<KeyPair, String> {
    let key = KeyPair::from_seed(text).ok().filter(|key| key.public_key().starts_with('U'));
    key.ok_or_else(|| "is not the seed of a user's NKey: 58 characters that begin with SU".to_owned())
}

/// Checks the addresses of nats-servers; errors repeat no part of them.
pub(crate) fn parse_nats_url(text: &str) -> Result<String, String> {
    for server in text.split(',').map(str::trim) {
        let url = parse_url(&with_scheme(server))?;
        let is_server = matches!(url.scheme(), "nats" | "tls")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && matches!(url.path(), "" | "/")
            && url.query().is_none();
        if !is_server {
            return Err("has a server that is not of the form nats://host:port or tls://host:port".to_owned());
        }
        // The client would ignore them.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "has a user, password, or token in it; set NATS_USER and NATS_PASSWORD, or NATS_TOKEN, instead"
                    .to_owned(),
            );
        }
    }
    Ok(text.to_owned())
}

/// Returns URLs, separated by commas, without user, password, parameters, and fragment: for logs and errors.
#[must_use]
pub fn redacted(urls: &str) -> String {
    let redacted = urls.split(',').map(|url| match Url::parse(&with_scheme(url.trim())) {
        Ok(url) => {
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
        }
        Err(_) => "(not a URL)".to_owned(),
    });
    redacted.collect::<Vec<_>>().join(",")
}

fn with_scheme(server: &str) -> Cow<'_, str> {
    if server.contains("://") { server.into() } else { format!("nats://{server}").into() }
}

/// Parses a URL; errors repeat no part of it. An unencoded `#`, `/`, or `?` in a password ends the host too early, and
/// leaves an `@` after it.
fn parse_url(text: &str) -> Result<Url, String> {
    let encode = "percent-encode the characters # / ? @ : in a user or password";
    let url = Url::parse(text).map_err(|error| format!("is not a URL ({error}); {encode}"))?;
    let has_stray_at = url.path().contains('@') || url.query().is_some_and(|query| query.contains('@'));
    if has_stray_at || url.fragment().is_some() {
        return Err(format!("has an @ or # after its host; {encode}"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
