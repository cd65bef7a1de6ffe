//! Takes payments for bookings, up to a limit.

use std::net::SocketAddr;

use choreography::database::Databases;
use choreography::statement::execute;
use choreography::{
    Envelope, HandleError, Outgoing, Service, ServiceOptions, each, migration, setting,
};
use messages::{PaymentDeclined, RoomBooked, payments, streams};
use sea_orm::DatabaseTransaction;
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use tokio_util::sync::CancellationToken;

/// The price above which a payment is declined, in cents.
pub const LIMIT: i64 = 50_000;

/// The options of the service.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Address of `/liveness`, `/readiness`, and `/metrics`.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:9002", value_parser = setting::address())]
    pub http_address: SocketAddr,
    #[command(flatten)]
    pub service: ServiceOptions,
}

/// Handles one message, in the transaction of its inbox row and of the events that it returns.
pub async fn handle(
    tx: &DatabaseTransaction,
    message: &Envelope<RoomBooked>,
) -> Result<Vec<Outgoing>, HandleError> {
    let RoomBooked { booking_id, price } = &message.payload;
    if *price > LIMIT {
        return Ok(vec![message.emit(&PaymentDeclined {
            booking_id: booking_id.clone(),
        })?]);
    }
    let insert = "INSERT INTO payments VALUES ($1, $2) ON CONFLICT DO NOTHING";
    execute(tx, insert, [booking_id.as_str().into(), (*price).into()]).await?;
    Ok(vec![])
}

/// The tables: the library's, then the service's own.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut all = migration::library();
        let payments = "CREATE TABLE payments (booking_id text PRIMARY KEY, price bigint NOT NULL)";
        all.push(migration::sql("0001_payments", payments));
        all
    }
}

/// Runs the service until `shutdown` is cancelled.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let url = config.service.database_url("payment-service");
    let service = Service::builder(payments())
        .description("Payments of bookings")
        .version(env!("CARGO_PKG_VERSION"))
        .topology(streams()?)
        .handler(each(handle))
        .http(config.http_address)
        .database(Databases::open::<Migrator>(&url).await?)
        .build()?;
    service.run(&config.service, shutdown).await
}
