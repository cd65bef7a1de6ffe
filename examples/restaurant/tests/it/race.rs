//! Guests race for the last table, two thousand times, at two instances of reservation-service on one database.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use choreography::connection;
use choreography::database::Databases;
use choreography::event_store::{self, RecordedEvent};
use choreography::publisher::{Command, Publisher};
use choreography::{Publish, query};
use futures::{StreamExt, stream};
use restaurant::catalogue;
use restaurant::declaration::{CATALOGUE_SERVICE, GATEWAY, RESERVATION_SERVICE};
use restaurant::messages::*;
use restaurant::reservation::Migrator;
use restaurant::text::DayId;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::Value;
use time::Date;
use time::macros::date;
use uuid::Uuid;

use crate::on_both_databases;
use crate::support::{Bench, Engine, booking, day, eventually, restaurant_with, text};

on_both_databases!(two_guests_who_race_for_the_last_table_never_both_get_it_and_the_waiting_list_moves_up_in_order);

const DAYS: usize = 100;
const SITTINGS: usize = 20;
const RACES: usize = DAYS * SITTINGS;
const FIRST: Date = date!(2030 - 01 - 01);

fn days() -> Vec<DayId> {
    (0..DAYS).map(|n| day("OLIVE", &(FIRST + time::Duration::days(n as i64)).to_string())).collect()
}

/// The day and the sitting of a race: a batch of messages is about few days.
fn place(race: usize, days: &[DayId]) -> (DayId, String) {
    (days[race / SITTINGS].clone(), format!("{:02}:00", race % SITTINGS))
}

/// Publishes commands, many at once.
async fn send<C: Publish>(publisher: &Publisher, commands: impl Iterator<Item = C>) {
    let published = commands.map(|command| publisher.publish(Command::new(Uuid::now_v7(), &command).unwrap()));
    stream::iter(published)
        .buffer_unordered(128)
        .for_each(async |published| assert!(!published.unwrap().duplicate))
        .await;
}

/// One guest per race, called by a letter.
async fn request(publisher: &Publisher, guest: &str, days: &[DayId]) {
    let request = |race| {
        let (day, sitting) = place(race, days);
        RequestReservation { day, booking: booking(&format!("{guest}{race}"), &sitting, 2) }
    };
    send(publisher, (0..RACES).map(request)).await;
}

async fn events(db: &DatabaseConnection) -> usize {
    let count = Statement::from_string(db.get_database_backend(), "SELECT count(*) FROM events");
    let count: i64 = db.query_one_raw(count).await.unwrap().unwrap().try_get_by_index(0).unwrap();
    count as usize
}

async fn histories(db: &DatabaseConnection, days: &[DayId]) -> HashMap<String, Vec<RecordedEvent>> {
    let ids: Vec<String> = days.iter().map(ToString::to_string).collect();
    event_store::load(db, &ids).await.unwrap()
}

/// The state of a sitting, by its events alone.
#[derive(Default)]
struct Sitting {
    taken: HashMap<String, String>,
    waiting: VecDeque<String>,
    moved_up: usize,
}

/// Plays the histories: a table has one party at a time, and the waiting list moves up in order.
fn checked(histories: &HashMap<String, Vec<RecordedEvent>>) -> BTreeMap<(String, String), Sitting> {
    let mut sittings: BTreeMap<(String, String), Sitting> = BTreeMap::new();
    for event in histories.values().flatten() {
        let body: Value = serde_json::from_str(&event.body).unwrap();
        let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (id, table) = (field("reservationId"), field("tableId"));
        let sitting = sittings.entry((event.aggregate_id.clone(), field("sitting"))).or_default();
        match event.message_type.as_str() {
            "reservation.day-opened.v1" => {}
            "reservation.held.v1" => {
                assert!(sitting.waiting.is_empty(), "{id} overtook the waiting list");
                assert_eq!(sitting.taken.insert(table, id), None, "two parties at one table");
            }
            "reservation.waitlisted.v1" => sitting.waiting.push_back(id),
            "reservation.moved-up.v1" => {
                assert_eq!(sitting.waiting.pop_front().as_ref(), Some(&id), "out of order");
                assert_eq!(sitting.taken.insert(table, id), None, "two parties at one table");
                sitting.moved_up += 1;
            }
            "reservation.cancelled.v1" => assert_eq!(sitting.taken.remove(&table), Some(id), "not at the table"),
            other => panic!("unexpected: {other}"),
        }
    }
    sittings.retain(|(_, sitting), _| !sitting.is_empty());
    sittings
}

async fn two_guests_who_race_for_the_last_table_never_both_get_it_and_the_waiting_list_moves_up_in_order(
    engine: Engine,
) {
    let mut bench = Bench::start(engine).await;
    let config = bench.config(CATALOGUE_SERVICE);
    bench.run(|stop| catalogue::run(config, stop));
    bench.reservations(3600);
    bench.reservations(3600);
    let url = bench.config(RESERVATION_SERVICE).service.database_url.unwrap();
    let db = Databases::open::<Migrator>(&url).await.unwrap().reader;
    let nats = bench.system.nats(GATEWAY);
    let mut guests = Vec::new();
    for _ in 0..2 {
        let (client, _) = connection::establish(&nats, GATEWAY, Duration::from_secs(10)).await.unwrap();
        guests.push((client.clone(), Publisher::new(connection::jetstream(&client), GATEWAY)));
    }
    let [(client, one), (_, other)] = &guests[..] else { panic!("two guests") };
    let hours: Vec<String> = (0..SITTINGS).map(|hour| format!("{hour:02}:00")).collect();
    let hours: Vec<&str> = hours.iter().map(String::as_str).collect();
    send(one, [PutRestaurant(restaurant_with("OLIVE", &[2], &hours))].into_iter()).await;
    let days = days();
    let subject = format!("reservation.query.get.{}", days[0]);
    eventually("the restaurant is known", || async {
        query::ask(client, subject.clone(), "".into(), Duration::from_secs(2)).await.is_ok()
    })
    .await;

    let began = std::time::Instant::now();
    tokio::join!(request(one, "A", &days), request(other, "B", &days));
    request(one, "C", &days).await;
    eventually("all requests are decided", || async { events(&db).await == DAYS + 3 * RACES }).await;
    let sittings = checked(&histories(&db, &days).await);
    assert_eq!(sittings.len(), RACES);
    assert!(sittings.values().all(|sitting| sitting.taken.len() == 1 && sitting.waiting.len() == 2));
    // Both guests win some races.
    let won = sittings.values().filter(|sitting| sitting.taken["T1"].starts_with('A')).count();
    assert!(won > 0 && won < RACES, "{won} of {RACES}");

    for round in 1..=2 {
        let sittings = checked(&histories(&db, &days).await);
        let cancel = sittings.iter().map(|((day, _), sitting)| CancelReservation {
            day: text(day.clone()),
            reservation_id: text(sitting.taken["T1"].clone()),
        });
        send(one, cancel).await;
        let expected = DAYS + 3 * RACES + round * 2 * RACES;
        eventually("the waiting lists move up", || async { events(&db).await == expected }).await;
    }
    let sittings = checked(&histories(&db, &days).await);
    assert!(sittings.values().all(|sitting| sitting.moved_up == 2 && sitting.waiting.is_empty()));
    println!("{engine:?}: {RACES} races, {} events: {:?}", events(&db).await, began.elapsed());

    // The recorded events are published, and that of the restaurant. The stream has one twice if the machine stalls for
    // longer than its duplicate window; inboxes and projections drop it.
    let js = connection::jetstream(client);
    let published = async || js.get_stream("EVENTS").await.unwrap().cached_info().state.messages as usize;
    eventually("all events are published", || async { published().await > DAYS + 7 * RACES }).await;
    let stream = js.get_stream("EVENTS").await.unwrap();
    let declined = stream.info_with_subjects("reservation.event.declined.>").await.unwrap();
    assert_eq!(declined.count().await, 0, "each command took effect");
    bench.stop().await;
}
