//! The order service: event-sourced orders, and queries on them.
//!
//! In reading order: [`order`] decides, [`handler`] loads and saves around it, [`queries`] replies, [`reconciliation`]
//! sums up, `allocations` lists the orders that need a reservation; [`entity`] and [`migration`] are the tables,
//! [`config`] the options.

mod allocations;
pub mod config;
pub mod entity;
pub mod handler;
pub mod migration;
pub mod order;
pub mod queries;
pub mod reconciliation;

use std::time::Duration;

use choreography::Service;
use choreography::database::Databases;
use contracts::topology::{COMMANDS, EVENTS, ORDER_SERVICE, TIMERS};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use handler::OrderHandler;
use migration::Migrator;

/// Runs the service until `shutdown` is cancelled.
///
/// # Errors
///
/// If the database cannot be opened, or [`Service::run`] fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let db = Databases::open::<Migrator>(&config.service.database_url(ORDER_SERVICE)).await?;
    let stock_deadline = Duration::from_secs(config.stock_deadline_seconds);
    let service = Service {
        name: ORDER_SERVICE,
        description: "Orders: one order, a list, a history",
        version: env!("CARGO_PKG_VERSION"),
        streams: &[COMMANDS, EVENTS, TIMERS],
        longest_deadline: Some(stock_deadline),
        handler: OrderHandler { stock_deadline },
        endpoints: queries::endpoints(&db.reader, stock_deadline),
        workers: Vec::new(),
        routes: poem::Route::new(),
        http_address: config.http_address,
        db,
    };
    service.run(&config.service, shutdown).await
}
