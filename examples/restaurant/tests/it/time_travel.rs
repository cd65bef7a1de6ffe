//! Days as they were, against a replay by hand.

use std::time::Duration;

use choreography::Messages;
use choreography::envelope::{from_unix_millis, unix_millis};
use choreography::event_store::{self, RecordedEvent};
use choreography::query::{Query, QueryError};
use choreography::time_travel::Point;
use choreography_test::Spec;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use restaurant::messages::*;
use restaurant::reservation::day::Day;
use restaurant::reservation::{DayView, Migrator, Reservations, get};
use restaurant::text::DayId;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use crate::support::{booking, day, restaurant_with, text};

const DAYS: usize = 20;
const ROUNDS: usize = 60;
const QUESTIONS: usize = 1_000;

/// A random command about a day, or its timer.
fn random(rng: &mut ChaCha8Rng, day: &DayId, now: time::OffsetDateTime) -> ReservationMessage {
    let (day, id) = (day.clone(), format!("R{}", rng.random_range(0..80)));
    let reservation_id = text(id.clone());
    match rng.random_range(0..10) {
        0..5 => {
            let sitting = ["18:00", "20:00"][rng.random_range(0..2)];
            let booking = booking(&id, sitting, rng.random_range(1..7));
            ReservationMessage::Request(RequestReservation { day, booking })
        }
        5..7 => ReservationMessage::Confirm(ConfirmReservation { day, reservation_id }),
        7 => ReservationMessage::Cancel(CancelReservation { day, reservation_id }),
        8 => ReservationMessage::NoShow(RecordNoShow { day, reservation_id }),
        _ => ReservationMessage::Due(ConfirmationDue { day, due: now }),
    }
}

/// Replays a history by hand, up to a point; `None` if it does not reach it.
fn by_hand(day: &DayId, history: &[RecordedEvent], point: Point) -> Option<DayView> {
    let (mut state, mut version) = (Day::default(), 0);
    for event in history {
        let is_included = match point {
            Point::Version(wanted) => event.version <= wanted,
            Point::At(time) => event.recorded_at <= unix_millis(time),
        };
        if is_included {
            state = state.evolve(&ReservationEvent::decode(&event.message_type, event.body.as_bytes()).unwrap());
            version = event.version;
        }
    }
    let is_reached = !matches!(point, Point::Version(wanted) if wanted != version);
    (is_reached && version > 0).then(|| DayView { day: day.clone(), version, state })
}

async fn ask(db: &DatabaseConnection, day: &DayId, point: Option<Point>) -> Option<DayView> {
    let body = point.map_or_else(String::new, |point| serde_json::to_string(&point).unwrap());
    match get(db.clone(), Query { key: day.to_string(), body: body.into() }).await {
        Ok(view) => Some(view),
        Err(QueryError::NotFound(_)) => None,
        Err(other) => panic!("{day}: {other}"),
    }
}

#[tokio::test]
async fn for_random_days_and_times_the_answer_equals_a_replay_by_hand() {
    let mut rng = ChaCha8Rng::seed_from_u64(20_261_128);
    let handler = Reservations { confirm_within: Duration::from_secs(600) };
    let mut spec = Spec::new::<Migrator>("reservation-service", handler).await.unwrap();
    let restaurant = restaurant_with("OLIVE", &[2, 2, 4, 6], &["18:00", "20:00"]);
    spec.when(RestaurantChanged { restaurant, version: 1 }).then([]).await;
    let days: Vec<DayId> = (1..=DAYS).map(|n| day("OLIVE", &format!("2030-02-{n:02}"))).collect();
    let first = unix_millis(spec.now());
    for _ in 0..ROUNDS {
        spec.advance(Duration::from_millis(rng.random_range(1..60_000)));
        let now = spec.now();
        let messages: Vec<_> = days.iter().flat_map(|day| [day; 3]).map(|day| random(&mut rng, day, now)).collect();
        spec.when_batch(messages).then_published().await;
    }
    let last = unix_millis(spec.now());
    let db = spec.db();
    let ids: Vec<String> = days.iter().map(ToString::to_string).collect();
    let histories = event_store::load(db, &ids).await.unwrap();
    let events: usize = histories.values().map(Vec::len).sum();
    assert!(events > DAYS * 50, "{events} events: the histories are long enough for snapshots");

    let (mut found, mut missing) = (0, 0);
    for _ in 0..QUESTIONS {
        let day = &days[rng.random_range(0..DAYS)];
        let point = match rng.random_range(0..2) {
            0 => Point::Version(rng.random_range(-1..200)),
            _ => Point::At(from_unix_millis(rng.random_range(first - 60_000..last + 60_000))),
        };
        let expected = by_hand(day, &histories[day.as_ref()], point);
        *(if expected.is_some() { &mut found } else { &mut missing }) += 1;
        assert_eq!(ask(db, day, Some(point)).await, expected, "{day} {point}");
    }
    assert!(found > QUESTIONS / 2 && missing > 0, "{found} found, {missing} not");

    // The present is read from a snapshot and the events after it.
    let all = Point::Version(i64::MAX);
    for day in &days {
        let expected = by_hand(day, &histories[day.as_ref()], Point::At(from_unix_millis(last))).unwrap();
        assert_eq!(by_hand(day, &histories[day.as_ref()], all), None);
        assert_eq!(ask(db, day, None).await, Some(expected));
    }
    let snapshots = Statement::from_string(db.get_database_backend(), "SELECT count(*) FROM snapshots");
    let snapshots: i64 = db.query_one_raw(snapshots).await.unwrap().unwrap().try_get_by_index(0).unwrap();
    assert_eq!(snapshots as usize, DAYS);
    println!("{events} events, {QUESTIONS} questions");
}
