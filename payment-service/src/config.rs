//! The options of the service.

use std::net::SocketAddr;
use std::time::Duration;

use contracts::CustomerId;
use messaging::ServiceOptions;

use crate::payment::Policy;

/// Takes the payments of the store's orders.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Where to serve HTTP: `/liveness` and `/readiness`.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8905")]
    pub http_address: SocketAddr,
    /// Where the payment provider is.
    #[arg(long, env = "PAYMENT_PROVIDER_URL", default_value = "http://127.0.0.1:8910")]
    pub provider_url: String,
    /// How long to wait for an answer of the provider, in milliseconds.
    #[arg(long, env = "PAYMENT_PROVIDER_TIMEOUT_MILLISECONDS", default_value_t = 5000)]
    pub provider_timeout_milliseconds: u64,
    /// How long a payment may be due before the provider is told to take it no more, in seconds.
    #[arg(long, env = "PAYMENT_PROVIDER_DEADLINE_SECONDS", default_value_t = 60)]
    pub provider_deadline_seconds: u64,
    /// How long a payment that is due waits for an account that is not known yet, in seconds.
    #[arg(long, env = "ACCOUNT_WAIT_SECONDS", default_value_t = 30)]
    pub account_wait_seconds: u64,
    /// Ask the account service for an account that is not known when a payment is due, once.
    #[arg(long, env = "FETCH_MISSING_ACCOUNTS", value_parser = clap::builder::BoolishValueParser::new())]
    pub fetch_missing_accounts: bool,
    /// What every service needs.
    #[command(flatten)]
    pub service: ServiceOptions,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does beside serving.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Fills the copy of the accounts again; safe while the service runs.
    #[command(subcommand)]
    Rebuild(Rebuild),
}

/// From where the copy of the accounts is filled.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Rebuild {
    /// From the stream, read from its start: enough while it reaches back to the first account.
    Replay,
    /// From a snapshot of the account service, and what the stream has behind it.
    Snapshot,
    /// From the account service, account by account: those named, or those that payments wait for.
    Fetch {
        /// Whose accounts.
        #[arg(value_parser = |text: &str| CustomerId::parse(text))]
        customer_ids: Vec<CustomerId>,
    },
}

impl Config {
    /// Returns how long to wait for what.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            account_wait: Duration::from_secs(self.account_wait_seconds),
            provider_deadline: Duration::from_secs(self.provider_deadline_seconds),
            fetch_accounts: self.fetch_missing_accounts,
        }
    }

    /// Returns how long to wait for an answer of the provider.
    #[must_use]
    pub fn provider_timeout(&self) -> Duration {
        Duration::from_millis(self.provider_timeout_milliseconds)
    }
}
