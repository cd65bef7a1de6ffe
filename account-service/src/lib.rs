//! Accounts of the shop's customers.
//!
//! Handles the commands that create, change, and delete accounts. Each event about a change has the complete account
//! and its version, so that other services keep copies of the fields they need. In reading order:
//!
//! - [`account`]: the rules; pure, no I/O;
//! - [`handler`]: the message handler;
//! - [`queries`]: the queries;
//! - [`entity`], [`migration`]: the tables;
//! - [`config`]: the options.

pub mod account;
pub mod config;
pub mod entity;
pub mod handler;
pub mod migration;
pub mod queries;

use choreography::database::Databases;
use choreography::{Running, Service};
use contracts::declaration;
use contracts::topology::{ACCOUNT_SERVICE, streams};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use handler::AccountHandler;
use migration::Migrator;

/// Runs the service until `shutdown` is cancelled.
///
/// # Errors
///
/// If the database cannot be opened, or [`Service::run`] fails.
pub fn run(config: Config, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        let db = Databases::open::<Migrator>(&config.service.database_url(ACCOUNT_SERVICE)).await?;
        let service = Service::builder(declaration::account_service())
            .description("Accounts of the shop's customers")
            .version(env!("CARGO_PKG_VERSION"))
            .topology(streams()?)
            .handler(AccountHandler)
            .queries(queries::endpoints(&db.reader))
            .http(config.http_address)
            .database(db)
            .build()?;
        service.run(&config.service, shutdown).await
    })
}
