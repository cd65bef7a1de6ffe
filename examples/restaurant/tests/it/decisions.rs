//! Given a history, when a message arrives, then these events and timers.

use std::time::Duration;

use choreography_test::{Published, START, Spec, published, scheduled};
use restaurant::messages::*;
use restaurant::reservation::{Migrator, Reservations};
use time::OffsetDateTime;

use crate::support::{booking, day, restaurant_with, text};

const WITHIN: Duration = Duration::from_secs(900);
const DATE: &str = "2030-01-01";
const SITTING: &str = "19:00";

/// A service that knows a restaurant.
async fn given(seats: &[u32]) -> Spec<Reservations> {
    let mut spec =
        Spec::new::<Migrator>("reservation-service", Reservations { confirm_within: WITHIN }).await.unwrap();
    let restaurant = restaurant_with("OLIVE", seats, &[SITTING, "21:00"]);
    spec.when(RestaurantChanged { restaurant, version: 1 }).then([]).await;
    spec.delivered_twice();
    spec
}

fn request(id: &str, party: u32) -> RequestReservation {
    RequestReservation { day: day("OLIVE", DATE), booking: booking(id, SITTING, party) }
}

fn confirm(id: &str) -> ConfirmReservation {
    ConfirmReservation { day: day("OLIVE", DATE), reservation_id: text(id) }
}

fn cancel(id: &str) -> CancelReservation {
    CancelReservation { day: day("OLIVE", DATE), reservation_id: text(id) }
}

fn no_show(id: &str) -> RecordNoShow {
    RecordNoShow { day: day("OLIVE", DATE), reservation_id: text(id) }
}

fn due(due: OffsetDateTime) -> ConfirmationDue {
    ConfirmationDue { day: day("OLIVE", DATE), due }
}

fn reservation(id: &str, party: u32, status: Status, table: Option<&str>) -> Reservation {
    let table_id = table.map(text);
    Reservation { booking: booking(id, SITTING, party), status, table_id, confirm_by: None }
}

fn held(id: &str, party: u32, table: &str, confirm_by: OffsetDateTime) -> Reservation {
    Reservation { confirm_by: Some(confirm_by), ..reservation(id, party, Status::Held, Some(table)) }
}

macro_rules! event {
    ($name:ident, $reservation:expr, $version:expr) => {
        published($name { day: day("OLIVE", DATE), reservation: $reservation }).version($version)
    };
}

fn declined(id: &str, reason: &str) -> Published {
    let (day, reservation_id) = (day("OLIVE", DATE), text(id));
    published(CommandDeclined { day, reservation_id, reason: reason.to_owned() })
}

/// Two parties at the tables of 2 and 4, and three that wait.
async fn full_house() -> Spec<Reservations> {
    let mut spec = given(&[4, 2]).await;
    for (id, party) in [("A", 2), ("B", 4), ("C", 3), ("D", 2), ("E", 1)] {
        spec.when(request(id, party)).then_published().await;
    }
    spec
}

#[tokio::test]
async fn a_party_gets_the_smallest_free_table_that_it_fits_and_waits_if_there_is_none() {
    let mut spec = given(&[4, 2, 4]).await;
    let opened = DayOpened {
        day: day("OLIVE", DATE),
        tables: restaurant_with("OLIVE", &[4, 2, 4], &[]).tables,
        sittings: vec![text(SITTING), text("21:00")],
    };
    let confirm_by = START + WITHIN;
    let timer = scheduled(due(confirm_by), confirm_by).version(2);
    let first = event!(ReservationHeld, held("A", 1, "T2", confirm_by), 2);
    spec.when(request("A", 1)).then([published(opened).version(1), first, timer]).await;
    spec.when(request("B", 2)).then([event!(ReservationHeld, held("B", 2, "T1", confirm_by), 3)]).await;
    spec.when(request("C", 4)).then([event!(ReservationHeld, held("C", 4, "T3", confirm_by), 4)]).await;
    let waiting = reservation("D", 1, Status::Waiting, None);
    spec.when(request("D", 1)).then([event!(ReservationWaitlisted, waiting, 5)]).await;
    // The tables of another sitting are other ones.
    let other = RequestReservation { day: day("OLIVE", DATE), booking: booking("E", "21:00", 1) };
    let events = spec.when(other).then_published().await;
    assert_eq!(
        (events[0].message_type.as_str(), &events[0].body["tableId"]),
        ("reservation.held.v1", &"T2".into())
    );
}

#[tokio::test]
async fn a_request_is_declined_with_a_reason_and_opens_no_day() {
    let mut spec = given(&[2]).await;
    spec.when(request("A", 3)).then([declined("A", "no table is large enough")]).await;
    spec.when(request("A", 0)).then([declined("A", "a party has at least one person")]).await;
    let sitting = RequestReservation { day: day("OLIVE", DATE), booking: booking("A", "12:00", 2) };
    spec.when(sitting).then([declined("A", "the restaurant has no such sitting on this day")]).await;
    let unknown = RequestReservation { day: day("NOWHERE", DATE), ..request("A", 2) };
    let reason = spec.when(unknown).then_published().await[0].body["reason"].take();
    assert_eq!(reason, "the restaurant is unknown");
    let yesterday = RequestReservation { day: day("OLIVE", "2029-12-31"), ..request("A", 2) };
    let reason = spec.when(yesterday).then_published().await[0].body["reason"].take();
    assert_eq!(reason, "the day is over");
    spec.when(request("A", 2)).then_published().await;
    spec.when(request("A", 1)).then([declined("A", "another reservation of the day has this id")]).await;
    spec.when(request("A", 2)).then([]).await;
}

#[tokio::test]
async fn a_freed_table_goes_to_the_first_waiting_party_that_it_fits() {
    let mut spec = full_house().await;
    spec.advance(Duration::from_secs(60));
    let confirm_by = spec.now() + WITHIN;
    // C, three persons, does not fit the table of A.
    let cancelled = event!(ReservationCancelled, reservation("A", 2, Status::Cancelled, Some("T2")), 7);
    let up = event!(ReservationMovedUp, held("D", 2, "T2", confirm_by), 8);
    spec.when(cancel("A")).then([cancelled, up]).await;
    spec.when(cancel("A")).then([]).await;
    let confirmed = event!(ReservationConfirmed, reservation("B", 4, Status::Confirmed, Some("T1")), 9);
    // The deadline of D is the earliest one now.
    spec.when(confirm("B")).then([confirmed, scheduled(due(confirm_by), confirm_by).version(9)]).await;
    let absent = event!(NoShowRecorded, reservation("B", 4, Status::NoShow, Some("T1")), 10);
    let up = event!(ReservationMovedUp, held("C", 3, "T1", confirm_by), 11);
    spec.when(no_show("B")).then([absent, up]).await;
    let cancelled = event!(ReservationCancelled, reservation("E", 1, Status::Cancelled, None), 12);
    spec.when(cancel("E")).then([cancelled]).await;
    spec.when(cancel("B")).then([declined("B", "the reservation is no-show")]).await;
    spec.when(confirm("E")).then([declined("E", "the reservation is cancelled")]).await;
    spec.when(no_show("D")).then([declined("D", "the reservation is held")]).await;
    spec.when(confirm("Z")).then([declined("Z", "there is no such reservation")]).await;
}

#[tokio::test]
async fn held_tables_expire_at_their_deadline_and_go_to_the_waiting_list_in_order() {
    let mut spec = full_house().await;
    let confirm_by = START + WITHIN;
    spec.advance(WITHIN + Duration::from_secs(30));
    let next = confirm_by + WITHIN;
    let expired = |id, party, table, version| {
        event!(ReservationExpired, reservation(id, party, Status::Expired, Some(table)), version)
    };
    let events = [
        expired("A", 2, "T2", 7),
        event!(ReservationMovedUp, held("D", 2, "T2", next), 8),
        expired("B", 4, "T1", 9),
        event!(ReservationMovedUp, held("C", 3, "T1", next), 10),
        scheduled(due(next), next).version(10),
    ];
    spec.when(due(confirm_by)).then(events).await;
}

#[tokio::test]
async fn a_timer_of_an_earlier_deadline_changes_nothing_and_the_present_one_is_scheduled_again() {
    let mut spec = full_house().await;
    let confirm_by = START + WITHIN;
    spec.when(due(START)).then([scheduled(due(confirm_by), confirm_by).version(6)]).await;
    spec.when(confirm("A")).then_published().await;
    spec.when(confirm("B")).then_published().await;
    spec.when(due(confirm_by)).then([]).await;
}

#[tokio::test]
async fn an_older_version_of_a_restaurant_does_not_replace_the_copy() {
    let mut spec = given(&[2]).await;
    let changed = |seats: &[u32], version| RestaurantChanged {
        restaurant: restaurant_with("OLIVE", seats, &[SITTING]),
        version,
    };
    spec.when_batch([changed(&[8], 3), changed(&[4], 2)]).then([]).await;
    let events = spec.when(request("A", 8)).then_published().await;
    assert_eq!(events[1].message_type, "reservation.held.v1");
    // An open day keeps its tables.
    spec.when(changed(&[1], 4)).then([]).await;
    let waiting = reservation("B", 8, Status::Waiting, None);
    spec.when(request("B", 8)).then([event!(ReservationWaitlisted, waiting, 3)]).await;
}
