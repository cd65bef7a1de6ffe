//! The flow without a broker, and the whole system on a real nats-server with nats.conf.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use choreography::connection::{self, NatsOptions};
use choreography::publisher::{self, Publisher};
use choreography::statement::execute;
use choreography::{ServiceOptions, each, setting};
use choreography_test::{Flow, Spec, TestNats, free_port, published};
use messages::{BookRoom, PaymentDeclined, RoomBooked, declarations, streams, topology};
use payment_service::LIMIT;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PASSWORDS: [(&str, &str); 3] = [
    ("SYSTEM_PASSWORD", "secret"),
    ("BOOKING_SERVICE_PASSWORD", "secret"),
    ("PAYMENT_SERVICE_PASSWORD", "secret"),
];

fn config() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../nats.conf")
}

#[tokio::test]
async fn a_booking_above_the_limit_is_declined_and_cancelled() {
    let mut bookings =
        Spec::new::<booking_service::Migrator>("booking-service", each(booking_service::handle))
            .await
            .unwrap();
    let mut payments =
        Spec::new::<payment_service::Migrator>("payment-service", each(payment_service::handle))
            .await
            .unwrap();
    bookings.delivered_twice();
    payments.delivered_twice();
    let (database, mut flow) = (
        bookings.db().clone(),
        Flow::new().with(bookings).with(payments),
    );
    let book = BookRoom {
        booking_id: "B1".to_owned(),
        price: LIMIT + 1,
    };
    let booked = published(RoomBooked {
        booking_id: "B1".to_owned(),
        price: LIMIT + 1,
    });
    let declined = published(PaymentDeclined {
        booking_id: "B1".to_owned(),
    });
    flow.when(book).then([booked, declined]).await;
    let cancelled = "DELETE FROM bookings WHERE booking_id = 'B1' AND status = 'cancelled'";
    assert_eq!(execute(&database, cancelled, []).await.unwrap(), 1);
}

#[test]
fn the_users_of_nats_conf_have_exactly_the_permissions_that_the_services_declare() {
    let config = std::fs::read_to_string(config()).unwrap();
    for declaration in declarations() {
        let user = declaration.user(&streams().unwrap()).unwrap();
        let block = config
            .split("user: ")
            .find(|block| block.starts_with(declaration.service()))
            .unwrap();
        let block = block.split("\n    {").next().unwrap();
        let listed: BTreeSet<&str> = block.split('"').skip(1).step_by(2).collect();
        let declared: BTreeSet<&str> = user
            .publish
            .iter()
            .chain(&user.subscribe)
            .map(String::as_str)
            .collect();
        assert_eq!(
            listed,
            declared,
            "{}: see `cargo run -p system -- users`",
            declaration.service()
        );
    }
}

#[tokio::test]
async fn the_services_react_to_each_other_on_a_real_server() {
    let nats = TestNats::with_config(&config(), PASSWORDS).await.unwrap();
    let options = |user: &str| NatsOptions {
        nats_url: nats.url(),
        nats_user: Some(user.to_owned()),
        nats_password: Some("secret".to_owned()),
        ..NatsOptions::default()
    };
    let (client, _) = connection::establish(&options("system"), "system", Duration::from_secs(10))
        .await
        .unwrap();
    let js = connection::jetstream(&client);
    topology(streams().unwrap())
        .unwrap()
        .provision(&js, 1)
        .await
        .unwrap();

    let (folder, stop) = (
        std::env::temp_dir().join(Uuid::now_v7().to_string()),
        CancellationToken::new(),
    );
    std::fs::create_dir(&folder).unwrap();
    let service = |name: &str| ServiceOptions {
        nats: options(name),
        database_url: Some(setting::sqlite_url(&folder.join(name))),
        ..ServiceOptions::default()
    };
    let address = || format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let bookings = booking_service::Config {
        http_address: address(),
        service: service("booking-service"),
    };
    let payments = payment_service::Config {
        http_address: address(),
        service: service("payment-service"),
    };
    let bookings = tokio::spawn(booking_service::run(bookings, stop.clone()));
    let payments = tokio::spawn(payment_service::run(payments, stop.clone()));

    let book = BookRoom {
        booking_id: "B1".to_owned(),
        price: LIMIT + 1,
    };
    let command = publisher::Command::new(Uuid::now_v7(), &book).unwrap();
    Publisher::new(js.clone(), "system")
        .publish(command)
        .await
        .unwrap();
    let declined = async {
        let events = js.get_stream("EVENTS").await.unwrap();
        while events
            .get_last_raw_message_by_subject("payment.event.declined.B1")
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), declined)
        .await
        .unwrap();
    stop.cancel();
    bookings.await.unwrap().unwrap();
    payments.await.unwrap().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}
