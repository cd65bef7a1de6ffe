//! Stock of the shop, and its reservations.
//!
//! Consumes restock commands and events of orders that are placed or cancelled. Publishes which orders are reserved,
//! backordered, refused, or released. In reading order:
//!
//! - [`stock`]: the rules; pure, no I/O;
//! - [`mod@unit_of_work`]: loads and saves the stock that a batch of messages needs;
//! - [`handler`]: the message handler;
//! - [`queries`]: the queries; [`reconciliation`]: the reconciliation totals;
//! - [`entity`], [`migration`]: the tables;
//! - [`automation`]: HTTP endpoints that fill and empty the stock for tests and demonstrations;
//! - [`config`]: the options.

pub mod automation;
pub mod config;
pub mod entity;
pub mod handler;
pub mod migration;
pub mod queries;
pub mod reconciliation;
pub mod stock;
pub mod unit_of_work;

use choreography::Service;
use choreography::database::Databases;
use contracts::topology::{COMMANDS, EVENTS, INVENTORY_SERVICE};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use handler::InventoryHandler;
use migration::Migrator;

/// Runs the service until `shutdown` is cancelled.
///
/// # Errors
///
/// If the database cannot be opened, or [`Service::run`] fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let db = Databases::open::<Migrator>(&config.service.database_url(INVENTORY_SERVICE)).await?;
    let service = Service {
        name: INVENTORY_SERVICE,
        description: "Stock of the shop and its reservations",
        version: env!("CARGO_PKG_VERSION"),
        streams: &[COMMANDS, EVENTS],
        longest_deadline: None,
        handler: InventoryHandler,
        endpoints: queries::endpoints(&db.reader),
        workers: Vec::new(),
        routes: automation::routes(&db.writer, config.automation_testing),
        http_address: config.http_address,
        db,
    };
    service.run(&config.service, shutdown).await
}
