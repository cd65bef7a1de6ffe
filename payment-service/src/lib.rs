//! Payments of the shop's orders.
//!
//! Consumes events of accounts, of orders that are placed or cancelled, and of reserved stock. Publishes whether a
//! payment is captured, declined, or refunded. It keeps a copy of the account data that it needs, and queries
//! account-service only for a missing account (`FETCH_MISSING_ACCOUNTS`) and in `rebuild`. It calls the payment
//! provider, a third party, outside every transaction. In reading order:
//!
//! - [`payment`]: the rules; pure, no I/O;
//! - [`mod@unit_of_work`], [`accounts`]: the aggregates that a batch needs, and the copies of accounts;
//! - [`handler`]: the message handler;
//! - [`provider`]: the payment provider, over HTTP;
//! - [`worker`]: calls the provider and records the outcome, handles payments without an account, reads the ledger;
//! - [`ledger`]: the comparison of the provider's ledger with the payments; pure;
//! - [`rebuild`]: rebuilds the copies of accounts; [`admin`]: an operator's decisions;
//! - [`queries`]: the queries; [`reconciliation`]: the reconciliation totals;
//! - [`entity`], [`migration`]: the tables;
//! - [`config`]: the options.

pub mod accounts;
pub mod admin;
pub mod config;
pub mod entity;
pub mod handler;
pub mod ledger;
pub mod migration;
pub mod payment;
pub mod provider;
pub mod queries;
pub mod rebuild;
pub mod reconciliation;
mod row;
pub mod shop;
pub mod unit_of_work;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use choreography::database::{self, Databases};
use choreography::{Running, Service, clock};
use contracts::declaration;
use contracts::query::LedgerCheck;
use contracts::topology::{PAYMENT_SERVICE, streams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use admin::Decision;
use config::Command;
pub use config::Config;
use handler::PaymentHandler;
use migration::Migrator;
use provider::{HttpProvider, PaymentProvider};
use reconciliation::Overdue;
use worker::{CaptureWorker, MissingAccountWorker, Reconciling};

/// Runs the service until `shutdown` is cancelled, or executes the subcommand.
///
/// # Errors
///
/// If the database cannot be opened, or if [`Service::run`] or the subcommand fails.
pub fn run(config: Config, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        match &config.command {
            Some(command) => tokio::select! {
                done = execute(&config, command) => done,
                () = shutdown.cancelled() => bail!("ended by a signal; finished work is kept; repeat the command"),
            },
            None => {
                let provider = HttpProvider::new(&config.provider_url, config.provider_timeout())?;
                run_with(config, Arc::new(provider), shutdown).await
            }
        }
    })
}

/// Executes a subcommand.
async fn execute(config: &Config, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Rebuild(from) => rebuild::run(config, from).await,
        Command::Retry { order_ids } => admin::run(config, Decision::Retry, order_ids).await,
        Command::Dismiss { order_ids } => admin::run(config, Decision::Dismiss, order_ids).await,
    }
}

/// Runs the service with a payment provider.
///
/// # Errors
///
/// As [`run`].
pub async fn run_with<P: PaymentProvider>(
    config: Config,
    provider: Arc<P>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let db = Databases::open::<Migrator>(&config.service.database_url(PAYMENT_SERVICE)).await?;
    let policy = config.policy();
    let clock = clock::now;
    let (wake, woken) = watch::channel(());
    let shop_id = database::answered(shop::id(&db.writer, config.shop_id.as_deref())).await?;
    let overdue = Overdue(Duration::from_secs(config.overdue_seconds));
    let (found, ledger) = watch::channel(LedgerCheck::default());
    let (provider, reader, shop) = (provider.clone(), db.reader.clone(), shop_id.clone());
    let reconciling = Reconciling { db: reader, provider: provider.clone(), shop_id: shop, overdue, found };
    let capture = CaptureWorker {
        db: db.writer.clone(),
        provider,
        shop_id,
        instance: instance(&config),
        policy,
        timeout: config.provider_timeout(),
        clock,
        wake: woken.clone(),
    };
    let fetch = policy.fetch_accounts.then(|| config.service.nats.clone());
    let missing_account =
        MissingAccountWorker { db: db.writer.clone(), policy, clock, fetch, wake: woken, decided: wake.clone() };
    let service = Service::builder(declaration::payment_service())
        .description("Payments of the shop's orders")
        .version(env!("CARGO_PKG_VERSION"))
        .topology(streams()?)
        .handler(PaymentHandler { policy, clock, wake, overdue })
        .queries(queries::endpoints(&db.reader, overdue, ledger))
        .worker(|outbox, stop| capture.run(outbox, stop))
        .worker(|outbox, stop| missing_account.run(outbox, stop))
        .worker(|outbox, stop| reconciling.run(outbox, stop))
        .http(config.http_address)
        .database(db)
        .build()?;
    service.run(&config.service, shutdown).await
}

/// Returns the name of this instance: host and address, which are unique among running instances and stay the same
/// after a restart.
fn instance(config: &Config) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.is_empty() { std::env::var("HOSTNAME").unwrap_or_default() } else { host };
    format!("{}/{}", host.trim(), config.http_address)
}
