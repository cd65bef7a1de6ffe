//! The decisions on a restaurant's day. Pure: no clock, no I/O.
//!
//! A party gets the smallest free table that it fits, or waits. A table that becomes free goes to the first party on the
//! waiting list that fits. So while a party waits, no table is free that it fits.

use std::collections::BTreeMap;
use std::time::Duration;

use choreography::{Deadline, Decider, Envelope, Snapshots};
use time::OffsetDateTime;

use super::day::Day;
use crate::messages::*;
use crate::text::{DayId, ReservationId};

/// The maximum number of reservations per day, so that a day fits into one reply.
pub const MAX_RESERVATIONS: usize = 1000;

/// The rules of reservations. [`EventSourced`](choreography::EventSourced) makes a handler of them.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// How long a table is held for a guest who has not confirmed.
    pub confirm_within: Duration,
    /// The restaurants of requests, by id: the tables and sittings of days that are not open yet.
    pub restaurants: BTreeMap<String, Restaurant>,
}

impl Decider for Rules {
    type Message = ReservationMessage;
    type Event = ReservationEvent;
    type State = Day;

    const SNAPSHOTS: Option<Snapshots<Day>> = Some(Snapshots::every(50, 1));

    fn decide(&self, day: &Day, message: &Envelope<ReservationMessage>) -> Vec<ReservationEvent> {
        use ReservationMessage as M;
        let now = message.time;
        match &message.payload {
            M::Request(command) => self.request(day, command, now),
            M::Confirm(command) => self.change(day, &command.day, &command.reservation_id, now, Status::Confirmed),
            M::Cancel(command) => self.change(day, &command.day, &command.reservation_id, now, Status::Cancelled),
            M::NoShow(command) => self.change(day, &command.day, &command.reservation_id, now, Status::NoShow),
            M::Due(timer) => self.expire(day, timer),
            // The copy of the catalogue is no part of a day.
            M::RestaurantChanged(_) => vec![],
        }
    }

    fn evolve(&self, day: Day, event: &ReservationEvent) -> Day {
        day.evolve(event)
    }

    fn is_recorded(&self, event: &ReservationEvent) -> bool {
        !matches!(event, ReservationEvent::Declined(_))
    }

    fn deadline(&self, id: &str, day: &Day) -> Option<Deadline> {
        let (due, ..) = day.held().into_iter().next()?;
        let day = DayId::try_from(id.to_owned()).ok()?;
        Some(Deadline::at(due, &ConfirmationDue { day, due }))
    }
}

impl Rules {
    fn request(&self, day: &Day, command: &RequestReservation, now: OffsetDateTime) -> Vec<ReservationEvent> {
        let RequestReservation { day: id, booking } = command;
        let (restaurant, date) = id.parts();
        let mut events = Vec::new();
        let opened;
        let day = match self.restaurants.get(restaurant) {
            Some(Restaurant { tables, sittings, .. }) if day.sittings.is_empty() => {
                let event = DayOpened { day: id.clone(), tables: tables.clone(), sittings: sittings.clone() };
                events.push(ReservationEvent::Opened(event));
                opened = events.iter().fold(Day::default(), Day::evolve);
                &opened
            }
            _ => day,
        };
        let reason = match day.reservations.get(&booking.reservation_id) {
            Some(known) if known.booking == *booking => return vec![],
            Some(_) => "another reservation of the day has this id",
            None if day.sittings.is_empty() => "the restaurant is unknown",
            None if date < now.date().to_string().as_str() => "the day is over",
            None if !day.sittings.contains(&booking.sitting) => "the restaurant has no such sitting on this day",
            None if booking.party == 0 => "a party has at least one person",
            None if day.tables.iter().all(|table| table.seats < booking.party) => "no table is large enough",
            None if day.reservations.len() >= MAX_RESERVATIONS => "the day has the maximum number of reservations",
            None => {
                let table = day.free_table(&booking.sitting, booking.party);
                events.push(ReservationEvent::of(id.clone(), self.reservation(booking, table, now)));
                return events;
            }
        };
        declined(id, &booking.reservation_id, reason.to_owned())
    }

    /// Changes the status of a reservation.
    fn change(
        &self,
        day: &Day,
        id: &DayId,
        reservation_id: &ReservationId,
        now: OffsetDateTime,
        status: Status,
    ) -> Vec<ReservationEvent> {
        let Some(known) = day.reservations.get(reservation_id) else {
            return declined(id, reservation_id, "there is no such reservation".to_owned());
        };
        match (known.status, status) {
            (before, after) if before == after => return vec![],
            (Status::Held, Status::Confirmed) | (Status::Confirmed, Status::NoShow) => {}
            (Status::Waiting | Status::Held | Status::Confirmed, Status::Cancelled) => {}
            (before, _) => return declined(id, reservation_id, format!("the reservation is {before}")),
        }
        let changed = Reservation { status, confirm_by: None, ..known.clone() };
        let moved = if changed.table().is_none() { self.move_up(day, id, known, now, &[]) } else { None };
        [ReservationEvent::of(id.clone(), changed)].into_iter().chain(moved).collect()
    }

    /// Ends what is due by the time of the timer, which may be earlier or later than the present deadline.
    fn expire(&self, day: &Day, timer: &ConfirmationDue) -> Vec<ReservationEvent> {
        let (mut events, mut moved) = (Vec::new(), Vec::new());
        for (_, known) in day.held().into_iter().take_while(|(confirm_by, _)| *confirm_by <= timer.due) {
            let expired = Reservation { status: Status::Expired, confirm_by: None, ..known.clone() };
            events.push(ReservationEvent::of(timer.day.clone(), expired));
            let up = self.move_up(day, &timer.day, known, timer.due, &moved);
            let reservation = up.as_ref().and_then(ReservationEvent::reservation);
            moved.extend(reservation.map(|(_, reservation)| reservation.booking.reservation_id.clone()));
            events.extend(up);
        }
        events
    }

    /// Gives the table that a reservation has to the waiting list.
    fn move_up(
        &self,
        day: &Day,
        id: &DayId,
        freed: &Reservation,
        now: OffsetDateTime,
        moved: &[ReservationId],
    ) -> Option<ReservationEvent> {
        let table = day.tables.iter().find(|table| freed.table() == Some(&table.table_id))?;
        let next = day.first_waiting(table, &freed.booking.sitting, moved)?;
        let reservation = self.reservation(&next.booking, Some(table), now);
        Some(ReservationEvent::MovedUp(ReservationMovedUp { day: id.clone(), reservation }))
    }

    /// Returns a reservation whose table is held, or that waits for one.
    fn reservation(&self, booking: &Booking, table: Option<&Table>, now: OffsetDateTime) -> Reservation {
        let status = if table.is_some() { Status::Held } else { Status::Waiting };
        let (table_id, confirm_by) = table.map(|table| (table.table_id.clone(), now + self.confirm_within)).unzip();
        Reservation { booking: booking.clone(), status, table_id, confirm_by }
    }
}

fn declined(day: &DayId, reservation_id: &ReservationId, reason: String) -> Vec<ReservationEvent> {
    let (day, reservation_id) = (day.clone(), reservation_id.clone());
    vec![ReservationEvent::Declined(CommandDeclined { day, reservation_id, reason })]
}
