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

use choreography::database::Databases;
use choreography::{EventSourced, Running, Service, history};
use contracts::declaration;
use contracts::topology::{ORDER_SERVICE, streams};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use handler::OrderDecider;
use migration::Migrator;

/// Runs the service until `shutdown` is cancelled.
///
/// # Errors
///
/// If the database cannot be opened, or [`Service::run`] fails.
pub fn run(config: Config, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        let db = Databases::open::<Migrator>(&config.service.database_url(ORDER_SERVICE)).await?;
        let stock_deadline = Duration::from_secs(config.stock_deadline_seconds);
        let service = Service::builder(declaration::order_service())
            .description("Orders: one order, and its history")
            .version(env!("CARGO_PKG_VERSION"))
            .topology(streams()?)
            .longest_deadline(stock_deadline)
            .handler(EventSourced(OrderDecider { stock_deadline }))
            .queries(queries::endpoints(&db.reader, stock_deadline))
            .queries([history::endpoint("order", &db.reader)])
            .http(config.http_address)
            .database(db)
            .build()?;
        service.run(&config.service, shutdown).await
    })
}
