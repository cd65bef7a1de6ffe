//! Deadlines of event-sourced aggregates: when their timers are scheduled, and when they are cancelled.

use std::time::Duration;

use choreography::testing::sqlite_in_memory;
use choreography::{
    Deadline, Decider, Envelope, Event, EventSourced, Handler, Message, Messages, Timer, Timing, clock,
};
use sea_orm::TransactionTrait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use crate::counter::Migrator;

const NOW: OffsetDateTime = datetime!(2026-11-27 12:00 UTC);

/// A room is booked until a time; `None` if it is free.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[message(context = "room", name = "booked", version = 1, key = room_id, producer = "room-service")]
struct Booked {
    room_id: String,
    minutes: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, Timer)]
#[message(context = "room", name = "due", version = 1, key = room_id, producer = "room-service")]
struct Due {
    room_id: String,
}

#[derive(Debug, Messages)]
enum RoomMessage {
    Booked(Booked),
    Due(Due),
}

/// Its timer changes nothing. With `AT`, the deadline is the end of the booking; otherwise a minute after its beginning.
#[derive(Clone, Copy)]
struct Room<const AT: bool>;

impl<const AT: bool> Decider for Room<AT> {
    type Message = RoomMessage;
    type Event = Booked;
    type State = Option<i64>;

    fn decide(&self, _: &Option<i64>, message: &Envelope<RoomMessage>) -> Vec<Booked> {
        match &message.payload {
            RoomMessage::Booked(booked) => vec![booked.clone()],
            RoomMessage::Due(_) => vec![],
        }
    }

    fn evolve(&self, _: Option<i64>, event: &Booked) -> Option<i64> {
        event.minutes
    }

    fn deadline(&self, id: &str, state: &Option<i64>) -> Option<Deadline> {
        let timer = Due { room_id: id.to_owned() };
        state.map(|minutes| match AT {
            true => Deadline::at(NOW + time::Duration::minutes(minutes), &timer),
            false => Deadline::after(Duration::from_secs(60), &timer),
        })
    }
}

fn envelope(message_type: &str, payload: RoomMessage) -> Envelope<RoomMessage> {
    let id = Uuid::now_v7();
    Envelope {
        id,
        message_type: message_type.to_owned(),
        source: "/room-service".to_owned(),
        key: "ROOM_1".to_owned(),
        time: NOW,
        correlation_id: id,
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: None,
        payload,
    }
}

fn booked(minutes: impl Into<Option<i64>>) -> Envelope<RoomMessage> {
    let booked = Booked { room_id: "ROOM_1".to_owned(), minutes: minutes.into() };
    envelope(Booked::TYPE, RoomMessage::Booked(booked))
}

fn due() -> Envelope<RoomMessage> {
    envelope(Due::TYPE, RoomMessage::Due(Due { room_id: "ROOM_1".to_owned() }))
}

/// Handles messages, and returns the schedules and cancellations: seconds from now, or `None`.
async fn timers<const AT: bool>(messages: &[Envelope<RoomMessage>]) -> Vec<Option<i64>> {
    let db = sqlite_in_memory::<Migrator>().await.unwrap();
    let tx = db.begin().await.unwrap();
    let batch: Vec<_> = messages.iter().collect();
    let outgoing = clock::at(NOW, EventSourced(Room::<AT>).handle(&tx, &batch)).await.unwrap();
    let timers = outgoing.into_iter().filter(|message| message.message_type == Due::TYPE);
    let timers = timers.map(|message| match message.timing {
        Timing::At { time, target } if target == "room.timer.due.ROOM_1" => Some((time - NOW).whole_seconds()),
        Timing::Cancel => None,
        other => panic!("{other:?}"),
    });
    timers.collect()
}

#[tokio::test]
async fn a_deadline_after_a_duration_is_scheduled_on_entering_its_state_and_cancelled_on_leaving_it() {
    assert_eq!(timers::<false>(&[booked(5), booked(9), due()]).await, [Some(60)]);
    assert_eq!(timers::<false>(&[booked(5), booked(None), booked(None)]).await, [Some(60), None]);
}

#[tokio::test]
async fn a_deadline_at_a_time_is_scheduled_when_that_time_changes_and_is_not_cancelled() {
    assert_eq!(timers::<true>(&[booked(5), booked(5), booked(3)]).await, [Some(300), Some(180)]);
    assert_eq!(timers::<true>(&[booked(5), booked(None), due()]).await, [Some(300)]);
}

#[tokio::test]
async fn a_deadline_that_remains_after_its_timer_is_scheduled_again_a_second_later_at_the_earliest() {
    assert_eq!(timers::<true>(&[booked(5), due()]).await, [Some(300), Some(300)]);
    assert_eq!(timers::<true>(&[booked(-5), due(), due()]).await, [Some(-300), Some(1), Some(1)]);
}
