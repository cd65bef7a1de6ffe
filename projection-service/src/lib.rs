//! Read models of the shop's orders: search, sales per product and day, and customers.
//!
//! It publishes nothing and decides nothing. Each read model is a [projection](choreography::projection) with tables of
//! its own, and can be built again at any time. In reading order:
//!
//! - [`search`]: orders by customer, product, status, time, and what they wait for;
//! - [`sales`]: units and money per product and day;
//! - [`customers`]: orders and spending per customer;
//! - [`queries`]: the queries;
//! - [`config`]: the options.

pub mod config;
pub mod customers;
pub mod queries;
pub mod sales;
pub mod search;

use choreography::database::Databases;
use choreography::migration::LibraryAndProjections;
use choreography::{Running, Service};
use contracts::declaration;
use contracts::topology::{PROJECTION_SERVICE, streams};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use customers::Customers;
use sales::Sales;
use search::OrderSearch;

/// Runs the service until `shutdown` is cancelled.
///
/// # Errors
///
/// If the database cannot be opened, or [`Service::run`] fails.
pub fn run(config: Config, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        let db = Databases::open::<LibraryAndProjections>(&config.service.database_url(PROJECTION_SERVICE)).await?;
        let service = Service::builder(declaration::projection_service())
            .description("Read models: order search, sales, customers")
            .version(env!("CARGO_PKG_VERSION"))
            .topology(streams()?)
            .projection(OrderSearch)
            .projection(Sales)
            .projection(Customers)
            .queries(queries::endpoints(&db.reader))
            .http(config.http_address)
            .database(db)
            .build()?;
        service.run(&config.service, shutdown).await
    })
}
