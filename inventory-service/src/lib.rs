//! Stock of the shop, and its reservations.
//!
//! Consumes restock commands and events of orders that are placed or cancelled. Publishes which orders are reserved,
//! backordered, refused, or released. In reading order:
//!
//! - [`stock`]: the rules; pure, no I/O;
//! - [`mod@unit_of_work`]: loads and saves the stock that a batch of messages needs;
//! - [`handler`]: the message handler;
//! - [`history`]: the units at earlier times; [`queries`]: the queries; [`reconciliation`]: the reconciliation totals;
//! - [`entity`], [`migration`]: the tables;
//! - [`automation`]: HTTP endpoints that fill and empty the stock for tests and demonstrations;
//! - [`config`]: the options.

pub mod automation;
pub mod config;
pub mod entity;
pub mod handler;
pub mod history;
pub mod migration;
pub mod queries;
pub mod reconciliation;
pub mod stock;
pub mod unit_of_work;

use choreography::database::Databases;
use choreography::{Running, Service};
use contracts::declaration;
use contracts::topology::{INVENTORY_SERVICE, streams};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use handler::InventoryHandler;
use migration::Migrator;

/// Runs the service until `shutdown` is cancelled.
///
/// # Errors
///
/// If the database cannot be opened, or [`Service::run`] fails.
pub fn run(config: Config, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        let db = Databases::open::<Migrator>(&config.service.database_url(INVENTORY_SERVICE)).await?;
        let service = Service::builder(declaration::inventory_service())
            .description("Stock of the shop and its reservations")
            .version(env!("CARGO_PKG_VERSION"))
            .topology(streams()?)
            .handler(InventoryHandler)
            .queries(queries::endpoints(&db.reader))
            .routes(automation::routes(&db.writer, config.automation_testing))
            .http(config.http_address)
            .database(db)
            .build()?;
        service.run(&config.service, shutdown).await
    })
}
