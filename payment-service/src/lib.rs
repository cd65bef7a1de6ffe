//! Payments of the store's orders.
//!
//! Listens to accounts, to orders that are placed or cancelled, and to stock that is reserved for them, and says
//! whether the money is taken, not taken, or given back. It keeps its own copy of what it needs from accounts and never
//! asks for it; the payment provider, a third party, is asked outside of every transaction. In reading order:
//!
//! - [`payment`]: the rules; pure, no I/O;
//! - [`mod@slice`], [`accounts`]: the part of the book that a batch needs, and the copies of accounts;
//! - [`handler`]: from messages to the book and back;
//! - [`provider`]: the payment provider, over HTTP;
//! - [`worker`]: asks the provider and records what it says, and looks after payments without an account;
//! - [`rebuild`]: the copies of accounts, filled again;
//! - [`queries`]: what can be asked; [`balance`]: what it comes to;
//! - [`entity`], [`migration`]: the tables;
//! - [`config`]: the options.

pub mod accounts;
pub mod balance;
pub mod config;
pub mod entity;
pub mod handler;
pub mod migration;
pub mod payment;
pub mod provider;
pub mod queries;
pub mod rebuild;
mod row;
pub mod slice;
pub mod worker;

use std::sync::Arc;

use contracts::topology::{EVENTS, PAYMENT_SERVICE, speaker};
use messaging::connection;
use messaging::database::Databases;
use messaging::{Health, Service};
use poem::Route;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use config::Command;
pub use config::Config;
use handler::PaymentHandler;
use migration::Migrator;
use provider::{HttpProvider, PaymentProvider};
use worker::{Asking, Waiting};

/// Runs the service until `shutdown` is cancelled, or does what the subcommand says.
///
/// # Errors
///
/// Where the database cannot be opened, and where [`Service::run`] or the subcommand fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    match &config.command {
        Some(Command::Rebuild(from)) => rebuild::run(&config, from).await,
        None => {
            let provider = HttpProvider::new(&config.provider_url, config.provider_timeout())?;
            run_with(config, Arc::new(provider), shutdown).await
        }
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
    let clock = OffsetDateTime::now_utc;
    let (wake, woken) = watch::channel(());
    let asking = Asking {
        db: db.writer.clone(),
        provider,
        policy,
        timeout: config.provider_timeout(),
        clock,
        wake: woken.clone(),
    };
    let fetch = if policy.fetch_accounts {
        // A connection of its own: that of the service is the kit's.
        Some(connection::connect(&config.service.nats, PAYMENT_SERVICE, &Health::default()).await?)
    } else {
        None
    };
    let waiting = Waiting { db: db.writer.clone(), policy, clock, fetch, wake: woken, decided: wake.clone() };
    let service = Service {
        name: PAYMENT_SERVICE,
        description: "Payments of the store's orders",
        streams: &[EVENTS],
        speaker,
        handler: PaymentHandler { policy, clock, wake },
        endpoints: queries::endpoints(&db.reader),
        workers: vec![
            Box::new(|outbox, stop| Box::pin(asking.run(outbox, stop))),
            Box::new(|outbox, stop| Box::pin(waiting.run(outbox, stop))),
        ],
        routes: Route::new(),
        http_address: config.http_address,
        db,
    };
    service.run(&config.service, shutdown).await
}
