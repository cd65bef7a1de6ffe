//! The options of the service.

use std::net::SocketAddr;
use std::time::Duration;

use choreography::{ServiceOptions, setting};
use clap::builder::TypedValueParser;
use contracts::{CustomerId, InvalidId, OrderId};

use crate::payment::Policy;

/// Parses a shop id, which has the format of every other id.
fn shop_id(text: &str) -> Result<String, InvalidId> {
    CustomerId::parse(text).map(String::from)
}

/// The parser of an order id.
fn order_id() -> impl TypedValueParser<Value = OrderId> {
    setting::parsed(|text: &str| OrderId::parse(text), format!("is not an order id: {InvalidId}"))
}

/// The payment service of the sample shop.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Address of `/liveness` and `/readiness`.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:8905", value_parser = setting::address())]
    pub http_address: SocketAddr,
    /// Base URL of the payment provider.
    #[arg(long, env = "PAYMENT_PROVIDER_URL", default_value = "http://127.0.0.1:8910", hide_env_values = true,
        value_parser = setting::http_url())]
    pub provider_url: String,
    /// Time limit for a response of the provider, in milliseconds.
    #[arg(long, env = "PAYMENT_PROVIDER_TIMEOUT_MILLISECONDS", default_value_t = 5000,
        value_parser = setting::milliseconds())]
    pub provider_timeout_milliseconds: u64,
    /// Time limit for capturing a payment that is due, in seconds; after it the capture is voided.
    #[arg(long, env = "PAYMENT_PROVIDER_DEADLINE_SECONDS", default_value_t = 60, value_parser = setting::seconds())]
    pub provider_deadline_seconds: u64,
    /// Age in seconds after which invariants, timelines, and metrics show an unfinished capture, void, or refund as
    /// overdue.
    #[arg(long, env = "PAYMENT_OVERDUE_SECONDS", default_value_t = 120, value_parser = setting::seconds())]
    pub overdue_seconds: u64,
    /// Time limit for repeating a void or a refund, in seconds; after it an operator must decide.
    #[arg(long, env = "PAYMENT_RETRY_LIMIT_SECONDS", default_value_t = 86_400, value_parser = setting::seconds())]
    pub retry_limit_seconds: u64,
    /// The name of this shop at the payment provider, part of every idempotency key: 1 to 64 letters, digits, `_`, `-`.
    /// Unless set, the service generates one and keeps it in the database.
    #[arg(long, env = "SHOP_ID", value_parser = setting::parsed(shop_id, format!("is not a shop id: {InvalidId}")))]
    pub shop_id: Option<String>,
    /// Time limit for a payment that is due to wait for a missing account, in seconds; after it the payment is
    /// declined.
    #[arg(long, env = "ACCOUNT_WAIT_SECONDS", default_value_t = 30, value_parser = setting::seconds())]
    pub account_wait_seconds: u64,
    /// Query the account service once for an account that is missing when a payment is due.
    #[arg(long, env = "FETCH_MISSING_ACCOUNTS", value_parser = setting::switch())]
    pub fetch_missing_accounts: bool,
    /// The options of every service.
    #[command(flatten)]
    pub service: ServiceOptions,
    /// A maintenance command, run instead of the service.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The maintenance commands.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Rebuilds the copies of the accounts; safe while the service runs.
    #[command(subcommand)]
    Rebuild(Rebuild),
    /// Repeats refunds and voids that the provider refused; safe while the service runs.
    Retry {
        /// Ids of the orders.
        #[arg(required = true, value_parser = order_id())]
        order_ids: Vec<OrderId>,
    },
    /// Clears the alarm of declined and cancelled payments that an operator has settled with the provider.
    Dismiss {
        /// Ids of the orders.
        #[arg(required = true, value_parser = order_id())]
        order_ids: Vec<OrderId>,
    },
}

/// The source of the copies of the accounts.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Rebuild {
    /// Reads the stream from its start; refused if the stream has lost messages: then use `snapshot`.
    Replay,
    /// Reads a snapshot of the account service and the later events of the stream.
    Snapshot,
    /// Queries the account service account by account: the given ones, or those that payments wait for.
    Fetch {
        /// Ids of the customers.
        #[arg(value_parser = setting::parsed(|text: &str| CustomerId::parse(text), format!("is not a customer id: {InvalidId}")))]
        customer_ids: Vec<CustomerId>,
    },
}

impl Config {
    /// Returns the time limits of payments.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            account_wait: Duration::from_secs(self.account_wait_seconds),
            provider_deadline: Duration::from_secs(self.provider_deadline_seconds),
            retry_limit: Duration::from_secs(self.retry_limit_seconds),
            fetch_accounts: self.fetch_missing_accounts,
        }
    }

    /// Returns the time limit for a response of the provider.
    #[must_use]
    pub fn provider_timeout(&self) -> Duration {
        Duration::from_millis(self.provider_timeout_milliseconds)
    }
}
