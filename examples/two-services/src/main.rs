//! Two services that never call each other: bookings, and the payments for them. The program starts nats-server and
//! both services, and books two rooms; the second payment is declined, and its booking cancelled.

use choreography::connection::{self, NatsOptions};
use choreography::database::Databases;
use choreography::publisher::{self, Publisher};
use choreography::statement::execute;
use choreography::{
    Command, Declaration, Envelope, Event, HandleError, Handler, Messages, Outgoing, Service, ServiceOptions,
    Topology, each, migration, process, setting,
};
use choreography_test::TestNats;
use futures::StreamExt;
use sea_orm::DatabaseTransaction;
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LIMIT: i64 = 50_000;

#[derive(Serialize, Deserialize, Command)]
#[message(context = "booking", name = "book", version = 1, key = booking_id, producer = "front-desk")]
struct BookRoom {
    booking_id: String,
    price: i64,
}

#[derive(Serialize, Deserialize, Event)]
#[message(context = "booking", name = "booked", version = 1, key = booking_id, producer = "booking-service")]
struct RoomBooked {
    booking_id: String,
    price: i64,
}

#[derive(Serialize, Deserialize, Event)]
#[message(context = "payment", name = "declined", version = 1, key = booking_id, producer = "payment-service")]
struct PaymentDeclined {
    booking_id: String,
}

#[derive(Messages)]
enum BookingMessage {
    Book(BookRoom),
    Declined(PaymentDeclined),
}

async fn booking(
    tx: &DatabaseTransaction,
    message: &Envelope<BookingMessage>,
) -> Result<Vec<Outgoing>, HandleError> {
    let id = message.key.as_str();
    match &message.payload {
        BookingMessage::Book(BookRoom { price, .. }) => {
            execute(tx, "INSERT INTO bookings VALUES ($1, 'booked')", [id.into()]).await?;
            Ok(vec![message.emit(&RoomBooked { booking_id: id.to_owned(), price: *price })?])
        }
        BookingMessage::Declined(_) => {
            execute(tx, "UPDATE bookings SET status = 'cancelled' WHERE booking_id = $1", [id.into()]).await?;
            Ok(vec![])
        }
    }
}

async fn payment(tx: &DatabaseTransaction, message: &Envelope<RoomBooked>) -> Result<Vec<Outgoing>, HandleError> {
    let RoomBooked { booking_id, price } = &message.payload;
    if *price > LIMIT {
        return Ok(vec![message.emit(&PaymentDeclined { booking_id: booking_id.clone() })?]);
    }
    execute(tx, "INSERT INTO payments VALUES ($1, $2)", [booking_id.as_str().into(), (*price).into()]).await?;
    Ok(vec![])
}

/// The tables of both services. In a system of several programs, each has its own migrator.
struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut all = migration::library();
        all.push(migration::sql("1", "CREATE TABLE bookings (booking_id text PRIMARY KEY, status text NOT NULL)"));
        all.push(migration::sql("2", "CREATE TABLE payments (booking_id text PRIMARY KEY, price bigint NOT NULL)"));
        all
    }
}

fn bookings() -> Declaration {
    Declaration::new("booking-service").consumes::<BookingMessage>().publishes::<RoomBooked>()
}

fn payments() -> Declaration {
    Declaration::new("payment-service").consumes::<RoomBooked>().publishes::<PaymentDeclined>()
}

/// Runs a service, with an SQLite file in a folder as its database.
async fn run<H: Handler>(
    (declaration, handler): (Declaration, H),
    nats: &NatsOptions,
    folder: &std::path::Path,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let url = setting::sqlite_url(&folder.join(declaration.service()));
    let service = Service::builder(declaration)
        .topology(Topology::parse(include_str!("../topology.json"))?)
        .handler(handler)
        .database(Databases::open::<Migrator>(&url).await?)
        .build()?;
    service.run(&ServiceOptions { nats: nats.clone(), ..ServiceOptions::default() }, stop).await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (_logs, stop) = (process::init_logging()?, process::shutdown_on_signal()?);
    let server = TestNats::start().await?;
    let nats = NatsOptions { nats_url: server.url(), ..NatsOptions::default() };
    let (client, _) = connection::establish(&nats, "front-desk", std::time::Duration::from_secs(5)).await?;
    let (js, folder) = (connection::jetstream(&client), std::env::temp_dir().join(Uuid::now_v7().to_string()));
    let topology = Topology::parse(include_str!("../topology.json"))?.with(&bookings())?.with(&payments())?;
    topology.provision(&js, 1).await?;
    std::fs::create_dir(&folder)?;
    let mut messages = client.subscribe("*.event.>").await?;
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            process::print(format_args!("{}", message.subject));
        }
    });
    process::print(format_args!("nats --server {} stream ls; Ctrl-C ends", server.url()));
    let front_desk = Publisher::new(js, "front-desk");
    for (id, price) in [("BOOKING_1", 12_000), ("BOOKING_2", 90_000)] {
        let command = BookRoom { booking_id: id.to_owned(), price };
        front_desk.publish(publisher::Command::new(Uuid::now_v7(), &command)?).await?;
    }
    let bookings = run((bookings(), each(booking)), &nats, &folder, stop.clone());
    tokio::try_join!(bookings, run((payments(), each(payment)), &nats, &folder, stop))?;
    Ok(std::fs::remove_dir_all(&folder)?)
}

#[cfg(test)]
mod tests {
    use choreography_test::{Flow, Spec, published};

    use super::*;

    #[tokio::test]
    async fn a_booking_above_the_limit_is_declined_and_cancelled() {
        let mut bookings = Spec::new::<Migrator>("booking-service", each(booking)).await.unwrap();
        let mut payments = Spec::new::<Migrator>("payment-service", each(payment)).await.unwrap();
        bookings.delivered_twice();
        payments.delivered_twice();
        let (database, mut flow) = (bookings.db().clone(), Flow::new().with(bookings).with(payments));
        let book = |id: &str, price| BookRoom { booking_id: id.to_owned(), price };
        let booked = |id: &str, price| published(RoomBooked { booking_id: id.to_owned(), price });
        flow.when(book("1", LIMIT)).then([booked("1", LIMIT)]).await;
        let declined = published(PaymentDeclined { booking_id: "2".to_owned() });
        flow.when(book("2", LIMIT + 1)).then([booked("2", LIMIT + 1), declined]).await;
        let cancelled = "DELETE FROM bookings WHERE booking_id = '2' AND status = 'cancelled'";
        assert_eq!(execute(&database, cancelled, []).await.unwrap(), 1);
    }
}
