//! A restaurant's day: the state of the aggregate. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::messages::{Reservation, ReservationEvent, Status, Table};
use crate::text::{ReservationId, Sitting, TableId};

/// A restaurant's day, rebuilt from its history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Day {
    pub tables: Vec<Table>,
    /// None until the day is opened.
    pub sittings: Vec<Sitting>,
    pub reservations: BTreeMap<ReservationId, Reservation>,
    /// The reservations that wait for a table, in the order of their requests.
    pub waiting: Vec<ReservationId>,
}

impl Day {
    /// Returns the smallest free table of a sitting that a party fits.
    pub(super) fn free_table(&self, sitting: &Sitting, party: u32) -> Option<&Table> {
        let at_sitting = self.reservations.values().filter(|known| known.booking.sitting == *sitting);
        let taken: Vec<&TableId> = at_sitting.filter_map(Reservation::table).collect();
        let free = self.tables.iter().filter(|table| table.seats >= party && !taken.contains(&&table.table_id));
        free.min_by_key(|table| (table.seats, &table.table_id))
    }

    /// Returns the first reservation on the waiting list that fits a table, except those that have moved up already.
    pub(super) fn first_waiting(
        &self,
        table: &Table,
        sitting: &Sitting,
        moved: &[ReservationId],
    ) -> Option<&Reservation> {
        let fits = |known: &&Reservation| known.booking.sitting == *sitting && known.booking.party <= table.seats;
        let waiting = self.waiting.iter().filter(|id| !moved.contains(id));
        waiting.filter_map(|id| self.reservations.get(id)).find(fits)
    }

    /// Returns the held reservations with their deadlines, the earliest first.
    pub(super) fn held(&self) -> Vec<(OffsetDateTime, &Reservation)> {
        let held = self.reservations.values().filter(|known| known.status == Status::Held);
        let mut held: Vec<_> = held.filter_map(|known| Some((known.confirm_by?, known))).collect();
        held.sort_by_key(|(confirm_by, _)| *confirm_by);
        held
    }

    /// Returns the day after an event of its history.
    pub fn evolve(mut self, event: &ReservationEvent) -> Self {
        if let ReservationEvent::Opened(event) = event {
            self.tables.clone_from(&event.tables);
            self.sittings.clone_from(&event.sittings);
        }
        if let Some((_, reservation)) = event.reservation() {
            let id = &reservation.booking.reservation_id;
            self.waiting.retain(|waiting| waiting != id);
            if reservation.status == Status::Waiting {
                self.waiting.push(id.clone());
            }
            self.reservations.insert(id.clone(), reservation.clone());
        }
        self
    }
}
