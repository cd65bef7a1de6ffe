//! The messages: the commands of the gateway, the events of the services, and the timer.

#![allow(missing_docs, reason = "the names of fields and variants say it")]

use std::fmt;

use choreography::{Command, Event, Messages, Timer};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::text::{DayId, GuestId, ReservationId, RestaurantId, Sitting, TableId};

/// A restaurant: its tables, and when its sittings begin. A party has its table for one sitting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restaurant {
    pub restaurant_id: RestaurantId,
    pub name: String,
    pub tables: Vec<Table>,
    pub sittings: Vec<Sitting>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    pub table_id: TableId,
    pub seats: u32,
}

/// Create a restaurant, or replace it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[message(context = "catalogue", name = "put-restaurant", version = 1, key = 0.restaurant_id, producer = "gateway")]
pub struct PutRestaurant(pub Restaurant);

/// A restaurant was created or changed. The event has the whole restaurant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[message(context = "catalogue", name = "restaurant-changed", version = 1, key = restaurant.restaurant_id,
    producer = "catalogue-service")]
pub struct RestaurantChanged {
    #[serde(flatten)]
    pub restaurant: Restaurant,
    pub version: i64,
}

/// What a guest asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Booking {
    pub reservation_id: ReservationId,
    pub guest_id: GuestId,
    pub sitting: Sitting,
    /// The number of persons.
    pub party: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    #[serde(flatten)]
    pub booking: Booking,
    pub status: Status,
    /// The table that it has, or had.
    pub table_id: Option<TableId>,
    /// Until when a held table must be confirmed.
    #[serde(with = "time::serde::rfc3339::option")]
    pub confirm_by: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Held,
    Confirmed,
    Waiting,
    Cancelled,
    Expired,
    NoShow,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Reservation {
    /// Returns the table that it takes.
    pub fn table(&self) -> Option<&TableId> {
        self.table_id.as_ref().filter(|_| matches!(self.status, Status::Held | Status::Confirmed))
    }
}

/// Declares messages about a restaurant's day.
macro_rules! about_days {
    ($( $(#[$doc:meta])* $kind:ident $name:ident = $text:literal by $producer:literal {
        $( $(#[$serde:meta])* $field:ident: $type:ty ),+
    } )+) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, $kind)]
        #[serde(rename_all = "camelCase")]
        #[message(context = "reservation", name = $text, version = 1, key = day, producer = $producer)]
        pub struct $name {
            pub day: DayId,
            $( $(#[$serde])* pub $field: $type, )+
        }
    )+ };
}

about_days! {
    /// Reserve a table.
    Command RequestReservation = "request" by "gateway" { #[serde(flatten)] booking: Booking }
    /// Confirm a reservation whose table is held.
    Command ConfirmReservation = "confirm" by "gateway" { reservation_id: ReservationId }
    /// Cancel a reservation.
    Command CancelReservation = "cancel" by "gateway" { reservation_id: ReservationId }
    /// Record that the party of a confirmed reservation did not come.
    Command RecordNoShow = "record-no-show" by "gateway" { reservation_id: ReservationId }
    /// A confirmation deadline of the day has passed.
    Timer ConfirmationDue = "confirmation-due" by "reservation-service" {
        #[serde(with = "time::serde::rfc3339")] due: OffsetDateTime
    }
    /// A day gets its first reservation. It keeps these tables and sittings.
    Event DayOpened = "day-opened" by "reservation-service" { tables: Vec<Table>, sittings: Vec<Sitting> }
    /// A table is held until the guest confirms, or the deadline passes.
    Event ReservationHeld = "held" by "reservation-service" { #[serde(flatten)] reservation: Reservation }
    /// No table is free; the reservation is on the waiting list.
    Event ReservationWaitlisted = "waitlisted" by "reservation-service" { #[serde(flatten)] reservation: Reservation }
    /// A table became free for a reservation on the waiting list, and is held.
    Event ReservationMovedUp = "moved-up" by "reservation-service" { #[serde(flatten)] reservation: Reservation }
    /// The guest has confirmed.
    Event ReservationConfirmed = "confirmed" by "reservation-service" { #[serde(flatten)] reservation: Reservation }
    /// The guest has cancelled.
    Event ReservationCancelled = "cancelled" by "reservation-service" { #[serde(flatten)] reservation: Reservation }
    /// The guest did not confirm in time.
    Event ReservationExpired = "expired" by "reservation-service" { #[serde(flatten)] reservation: Reservation }
    /// The party did not come.
    Event NoShowRecorded = "no-show-recorded" by "reservation-service" { #[serde(flatten)] reservation: Reservation }
    /// A command was declined; nothing changed.
    Event CommandDeclined = "declined" by "reservation-service" { reservation_id: ReservationId, reason: String }
}

/// The messages that reservation-service consumes.
#[derive(Debug, Clone, Messages)]
pub enum ReservationMessage {
    Request(RequestReservation),
    Confirm(ConfirmReservation),
    Cancel(CancelReservation),
    NoShow(RecordNoShow),
    Due(ConfirmationDue),
    RestaurantChanged(RestaurantChanged),
}

/// The events of reservation-service. The last one is no part of a history.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum ReservationEvent {
    Opened(DayOpened),
    Held(ReservationHeld),
    Waitlisted(ReservationWaitlisted),
    MovedUp(ReservationMovedUp),
    Confirmed(ReservationConfirmed),
    Cancelled(ReservationCancelled),
    Expired(ReservationExpired),
    NoShow(NoShowRecorded),
    Declined(CommandDeclined),
}

impl ReservationEvent {
    /// Returns the event of a reservation's new status.
    pub(crate) fn of(day: DayId, reservation: Reservation) -> Self {
        match reservation.status {
            Status::Held => Self::Held(ReservationHeld { day, reservation }),
            Status::Confirmed => Self::Confirmed(ReservationConfirmed { day, reservation }),
            Status::Waiting => Self::Waitlisted(ReservationWaitlisted { day, reservation }),
            Status::Cancelled => Self::Cancelled(ReservationCancelled { day, reservation }),
            Status::Expired => Self::Expired(ReservationExpired { day, reservation }),
            Status::NoShow => Self::NoShow(NoShowRecorded { day, reservation }),
        }
    }

    /// Returns the reservation after the event; `None` if it changes none.
    pub fn reservation(&self) -> Option<(&DayId, &Reservation)> {
        match self {
            Self::Held(ReservationHeld { day, reservation })
            | Self::Waitlisted(ReservationWaitlisted { day, reservation })
            | Self::MovedUp(ReservationMovedUp { day, reservation })
            | Self::Confirmed(ReservationConfirmed { day, reservation })
            | Self::Cancelled(ReservationCancelled { day, reservation })
            | Self::Expired(ReservationExpired { day, reservation })
            | Self::NoShow(NoShowRecorded { day, reservation }) => Some((day, reservation)),
            Self::Opened(_) | Self::Declined(_) => None,
        }
    }
}
