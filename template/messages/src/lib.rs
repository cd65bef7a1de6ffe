//! The messages of {{project-name}}, its streams, and what each service consumes and publishes.

use choreography::topology::{Topology, TopologyError};
use choreography::{Command, Declaration, DeclarationError, Event, Messages};
use serde::{Deserialize, Serialize};

/// Book a room.
#[derive(Debug, Serialize, Deserialize, Command)]
#[message(context = "booking", name = "book", version = 1, key = booking_id, producer = "system")]
pub struct BookRoom {
    pub booking_id: String,
    /// In cents.
    pub price: i64,
}

/// The room is booked.
#[derive(Debug, Serialize, Deserialize, Event)]
#[message(context = "booking", name = "booked", version = 1, key = booking_id, producer = "booking-service")]
pub struct RoomBooked {
    pub booking_id: String,
    /// In cents.
    pub price: i64,
}

/// The payment of a booking is declined.
#[derive(Debug, Serialize, Deserialize, Event)]
#[message(context = "payment", name = "declined", version = 1, key = booking_id, producer = "payment-service")]
pub struct PaymentDeclined {
    pub booking_id: String,
}

/// The messages that booking-service consumes.
#[derive(Debug, Messages)]
pub enum BookingMessage {
    Book(BookRoom),
    Declined(PaymentDeclined),
}

/// Returns the declarations of all services.
pub fn declarations() -> [Declaration; 2] {
    [bookings(), payments()]
}

/// Returns the declaration of booking-service.
pub fn bookings() -> Declaration {
    Declaration::new("booking-service")
        .consumes::<BookingMessage>()
        .publishes::<RoomBooked>()
}

/// Returns the declaration of payment-service.
pub fn payments() -> Declaration {
    Declaration::new("payment-service")
        .consumes::<RoomBooked>()
        .publishes::<PaymentDeclined>()
}

/// Reads topology.json: the streams.
pub fn streams() -> Result<Topology, TopologyError> {
    Topology::parse(include_str!("../../topology.json"))
}

/// Returns the streams, and the consumers of all services.
pub fn topology(streams: Topology) -> Result<Topology, DeclarationError> {
    declarations().iter().try_fold(streams, Topology::with)
}
