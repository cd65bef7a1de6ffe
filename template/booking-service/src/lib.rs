//! Books rooms, and cancels a booking whose payment is declined.

use std::net::SocketAddr;

use choreography::database::Databases;
use choreography::statement::execute;
use choreography::{
    Envelope, HandleError, Outgoing, Service, ServiceOptions, each, migration, setting,
};
use messages::{BookRoom, BookingMessage, RoomBooked, bookings, streams};
use sea_orm::DatabaseTransaction;
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use tokio_util::sync::CancellationToken;

/// The options of the service.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Address of `/liveness`, `/readiness`, and `/metrics`.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1:9001", value_parser = setting::address())]
    pub http_address: SocketAddr,
    #[command(flatten)]
    pub service: ServiceOptions,
}

/// Handles one message, in the transaction of its inbox row and of the events that it returns.
pub async fn handle(
    tx: &DatabaseTransaction,
    message: &Envelope<BookingMessage>,
) -> Result<Vec<Outgoing>, HandleError> {
    let id = message.key.as_str();
    match &message.payload {
        BookingMessage::Book(BookRoom { price, .. }) => {
            // A second booking with this id, by another command, changes nothing.
            let insert = "INSERT INTO bookings VALUES ($1, 'booked') ON CONFLICT DO NOTHING";
            if execute(tx, insert, [id.into()]).await? == 0 {
                return Ok(vec![]);
            }
            Ok(vec![message.emit(&RoomBooked {
                booking_id: id.to_owned(),
                price: *price,
            })?])
        }
        // The compensation.
        BookingMessage::Declined(_) => {
            execute(
                tx,
                "UPDATE bookings SET status = 'cancelled' WHERE booking_id = $1",
                [id.into()],
            )
            .await?;
            Ok(vec![])
        }
    }
}

/// The tables: the library's, then the service's own.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut all = migration::library();
        let bookings = "CREATE TABLE bookings (booking_id text PRIMARY KEY, status text NOT NULL)";
        all.push(migration::sql("0001_bookings", bookings));
        all
    }
}

/// Runs the service until `shutdown` is cancelled.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let url = config.service.database_url("booking-service");
    let service = Service::builder(bookings())
        .description("Bookings of rooms")
        .version(env!("CARGO_PKG_VERSION"))
        .topology(streams()?)
        .handler(each(handle))
        .http(config.http_address)
        .database(Databases::open::<Migrator>(&url).await?)
        .build()?;
    service.run(&config.service, shutdown).await
}
