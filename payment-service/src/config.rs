//! The options of the service.

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use contracts::{CustomerId, InvalidId, OrderId};
use messaging::{ServiceOptions, setting};

use crate::payment::Policy;

/// Parses a shop id: it has the form of every other id.
fn shop_id(text: &str) -> Result<String, InvalidId> {
    CustomerId::parse(text).map(String::from)
}

/// The id of an order.
fn order_id() -> impl TypedValueParser<Value = OrderId> {
    setting::parsed(|text: &str| OrderId::parse(text), format!("is not an order id: {InvalidId}"))
}

/// Takes the payments of the shop's orders.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Where to serve HTTP: `/liveness` and `/readiness`.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8905", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// Where the payment provider is.
    #[arg(long, env = "PAYMENT_PROVIDER_URL", default_value = "http://127.0.0.1:8910", hide_env_values = true,
        value_parser = setting::http_url())]
    pub provider_url: String,
    /// How long to wait for an answer of the provider, in milliseconds.
    #[arg(long, env = "PAYMENT_PROVIDER_TIMEOUT_MILLISECONDS", default_value_t = 5000,
        value_parser = setting::milliseconds())]
    pub provider_timeout_milliseconds: u64,
    /// How long a payment may be due before the provider is told to take it no more, in seconds.
    #[arg(long, env = "PAYMENT_PROVIDER_DEADLINE_SECONDS", default_value_t = 60, value_parser = setting::seconds())]
    pub provider_deadline_seconds: u64,
    /// How long a capture, a void, or a refund may be unfinished before invariants, timelines, and metrics name it, in
    /// seconds.
    #[arg(long, env = "PAYMENT_OVERDUE_SECONDS", default_value_t = 120, value_parser = setting::seconds())]
    pub overdue_seconds: u64,
    /// How long a void or a refund is repeated before it is left to a person, in seconds.
    #[arg(long, env = "PAYMENT_RETRY_LIMIT_SECONDS", default_value_t = 86_400, value_parser = setting::seconds())]
    pub retry_limit_seconds: u64,
    /// The name of this shop at the payment provider, part of every idempotency key: 1 to 64 letters, digits, `_`, `-`.
    /// Unless set, a random one is made once and kept in the database.
    #[arg(long, env = "SHOP_ID", value_parser = setting::parsed(shop_id, format!("is not a shop id: {InvalidId}")))]
    pub shop_id: Option<String>,
    /// How long a payment that is due waits for an account that is not known yet, in seconds.
    #[arg(long, env = "ACCOUNT_WAIT_SECONDS", default_value_t = 30, value_parser = setting::seconds())]
    pub account_wait_seconds: u64,
    /// Ask the account service for an account that is not known when a payment is due, once.
    #[arg(long, env = "FETCH_MISSING_ACCOUNTS", value_parser = setting::switch())]
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
    /// Asks the provider again for refunds and voids that it refused; safe while the service runs.
    Retry {
        /// The orders.
        #[arg(required = true, value_parser = order_id())]
        order_ids: Vec<OrderId>,
    },
    /// Takes back the alarm of declined and cancelled payments after a person has settled them with the provider.
    Dismiss {
        /// The orders.
        #[arg(required = true, value_parser = order_id())]
        order_ids: Vec<OrderId>,
    },
}

/// From where the copy of the accounts is filled.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Rebuild {
    /// From the stream, read from its start; refused if the stream has lost messages: then use `snapshot`.
    Replay,
    /// From a snapshot of the account service, and what the stream has behind it.
    Snapshot,
    /// From the account service, account by account: those named, or those that payments wait for.
    Fetch {
        /// Whose accounts.
        #[arg(value_parser = setting::parsed(|text: &str| CustomerId::parse(text), format!("is not a customer id: {InvalidId}")))]
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
            retry_limit: Duration::from_secs(self.retry_limit_seconds),
            fetch_accounts: self.fetch_missing_accounts,
        }
    }

    /// Returns how long to wait for an answer of the provider.
    #[must_use]
    pub fn provider_timeout(&self) -> Duration {
        Duration::from_millis(self.provider_timeout_milliseconds)
    }
}
