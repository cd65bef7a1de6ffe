//! Given/when/then without a broker.

use std::time::Duration;

use choreography::dead_letter::Reason;
use choreography::testing::MAX_ATTEMPTS;
use choreography::{Envelope, HandleError, Outgoing, each};
use choreography_test::{Flow, Published, START, Spec, cancelled, published, scheduled};
use sea_orm::DatabaseTransaction;

use crate::hotel::{Billing, Book, Booked, Bookings, DUE, Due, Migrator, Overdue, Pay};

fn room() -> String {
    "12".to_owned()
}

fn book(nights: u32) -> Book {
    Book { room: room(), nights }
}

fn booked(nights: u32, at: &str) -> Published {
    published(Booked { room: room(), nights, at: at.to_owned() }).version(1)
}

async fn bookings() -> Spec<Bookings> {
    Spec::new::<Migrator>("booking-service", Bookings).await.unwrap()
}

/// Returns the text with which a test fails.
async fn panic_of(test: impl Future<Output = ()> + Send + 'static) -> String {
    let panic = tokio::spawn(test).await.unwrap_err().into_panic();
    *panic.downcast::<String>().unwrap()
}

#[tokio::test]
async fn a_test_expects_what_the_message_under_test_publishes() {
    let mut spec = bookings().await;
    spec.given([book(1), book(2)]).when(book(3)).then([booked(3, "2030-01-01T00:00:00Z")]).await;
    spec.when_batch([book(4), book(5)])
        .then([booked(4, "2030-01-01T00:00:00Z"), booked(5, "2030-01-01T00:00:00Z")])
        .await;
}

#[tokio::test]
async fn each_message_of_a_batch_is_handled_in_order() {
    async fn bill(_tx: &DatabaseTransaction, booked: &Envelope<Booked>) -> Result<Vec<Outgoing>, HandleError> {
        Ok(vec![booked.emit(&Overdue { room: booked.payload.room.clone() })?])
    }
    let mut spec = Spec::new::<Migrator>("billing-service", each(bill)).await.unwrap();
    let booked = |room: &str| Booked { room: room.to_owned(), nights: 1, at: "2030-01-01T00:00:00Z".to_owned() };
    let overdue = |room: &str| published(Overdue { room: room.to_owned() });
    spec.when_batch(["3", "1", "2"].map(booked)).then(["3", "1", "2"].map(overdue)).await;
}

#[tokio::test]
async fn the_clock_stands_still_until_a_test_advances_it() {
    let mut spec = bookings().await;
    spec.given([book(1)])
        .advance(Duration::from_secs(90))
        .when(book(2))
        .then([booked(2, "2030-01-01T00:01:30Z")])
        .await;
    assert_eq!(spec.now(), START + Duration::from_secs(90));
}

#[tokio::test]
async fn a_second_delivery_is_dropped_by_the_inbox() {
    let mut spec = bookings().await;
    spec.delivered_twice();
    spec.given([book(1)]).when_batch([book(2), book(3)]).then_published().await;
    spec.when(book(0)).then_rejected("at least one night").await;
    spec.when(book(31)).then_failed("the calendar ends").await;
}

#[tokio::test]
async fn a_rejected_message_becomes_a_dead_letter_and_the_others_of_its_batch_are_handled() {
    let mut spec = bookings().await;
    spec.when(book(0)).then_rejected("at least one night").await;
    spec.when(book(31)).then_failed("the calendar ends").await;
    let text = panic_of(async move { spec.when_batch([book(1), book(0)]).then([]).await }).await;
    assert!(text.contains("spec.rs"), "{text}");
    assert!(
        text.ends_with(
            "booking.command.book.12 was not handled: DeadLettered { reason: \"rejected\", \
         detail: \"a booking has at least one night\" }"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn a_message_that_fails_at_every_redelivery_becomes_a_dead_letter() {
    let mut spec = bookings().await;
    spec.when(book(31)).then_failed("the calendar ends").await;
    for _ in 2..MAX_ATTEMPTS {
        spec.when_redelivered().then_failed("the calendar ends").await;
    }
    spec.when_redelivered().then_dead_lettered(Reason::MaxAttemptsExceeded, "the calendar ends").await;
}

#[tokio::test]
async fn a_failure_shows_only_what_differs() {
    let mut spec = bookings().await;
    let text = panic_of(async move {
        spec.when_batch([book(1), book(2), book(3)])
            .then([
                booked(1, "2030-01-01T00:00:00Z"),
                booked(4, "2030-01-01T00:00:00Z"),
                published(Overdue { room: room() }),
                scheduled(Due { room: room() }, START),
            ])
            .await;
    })
    .await;
    let (_, differences) = text.split_once('\n').unwrap();
    assert_eq!(
        differences,
        r#"    booking.booked.v1 of 12, version 1
  ≠ booking.booked.v1 of 12, version 1
      body.nights: expected 4, published 2
  - expected  billing.overdue.v1 of 12 {"room":"12"}
  + published booking.booked.v1 of 12, version 1 {"at":"2030-01-01T00:00:00Z","nights":3,"room":"12"}
  - expected  billing.due.v1 of 12, scheduled for 2030-01-01T00:00:00Z {"room":"12"}
"#
    );
}

#[tokio::test]
async fn a_message_that_the_service_does_not_consume_is_a_mistake_of_the_test() {
    let mut spec = bookings().await;
    let text = panic_of(async move { spec.when(Pay { room: room() }).then([]).await }).await;
    assert_eq!(text, "booking-service does not consume billing.command.pay.12");
}

async fn hotel() -> Flow {
    let mut bookings = bookings().await;
    let mut billing = Spec::new::<Migrator>("billing-service", Billing).await.unwrap();
    bookings.delivered_twice();
    billing.delivered_twice();
    Flow::new().with(bookings).with(billing)
}

#[tokio::test]
async fn a_flow_delivers_what_its_services_publish_and_fires_timers_that_are_due() {
    let mut flow = hotel().await;
    let due = || Due { room: room() };
    flow.when(book(2)).then([booked(2, "2030-01-01T00:00:00Z"), scheduled(due(), START + DUE)]).await;
    flow.advance(DUE - Duration::from_secs(1)).then([]).await;
    flow.advance(Duration::from_secs(1)).then([published(Overdue { room: room() })]).await;
    flow.advance(DUE).then([]).await;
}

#[tokio::test]
async fn a_cancelled_timer_does_not_fire() {
    let mut flow = hotel().await;
    flow.when(book(2)).then_published().await;
    flow.when(Pay { room: room() }).then([cancelled(Due { room: room() })]).await;
    flow.advance(DUE).then([]).await;
}
