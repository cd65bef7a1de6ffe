//! The declarations of the services and of the gateway, from which consumers and users of `nats.conf` follow.

#![allow(missing_docs, reason = "the names of services and streams say it")]

use choreography::declaration::ProjectionSpec;
use choreography::topology::TopologyError;
use choreography::{Declaration, DeclarationError, Topology};
use choreography_http::access;

use crate::messages::*;

pub const CATALOGUE_SERVICE: &str = "catalogue-service";
pub const RESERVATION_SERVICE: &str = "reservation-service";
pub const PROJECTION_SERVICE: &str = "projection-service";
pub const GATEWAY: &str = "gateway";
/// The user that creates streams and consumers.
pub const PROVISIONER: &str = "provisioner";

/// The users of nats.conf; the last one may only read.
pub const USERS: [&str; 6] =
    [CATALOGUE_SERVICE, RESERVATION_SERVICE, PROJECTION_SERVICE, GATEWAY, PROVISIONER, "inspector"];

/// The read models of guests and of owners: their names and versions.
pub const MY_RESERVATIONS: (&str, u32) = ("my-reservations", 1);
pub const OCCUPANCY: (&str, u32) = ("occupancy", 1);
/// The contexts with an event store.
pub const EVENT_STORES: &[&str] = &["reservation"];

/// Returns the declarations of all services, and of the gateway.
pub fn declarations() -> Result<[Declaration; 4], TopologyError> {
    Ok([catalogue_service(), reservation_service(), projection_service(), gateway(&streams()?)])
}

pub fn catalogue_service() -> Declaration {
    let declaration = Declaration::new(CATALOGUE_SERVICE).consumes::<PutRestaurant>();
    declaration.publishes::<RestaurantChanged>().replies_to("catalogue.query.>")
}

pub fn reservation_service() -> Declaration {
    let declaration = Declaration::new(RESERVATION_SERVICE).consumes::<ReservationMessage>();
    declaration.publishes::<ReservationEvent>().publishes::<ConfirmationDue>().replies_to("reservation.query.>")
}

pub fn projection_service() -> Declaration {
    let declaration = Declaration::new(PROJECTION_SERVICE).replies_to("projection.query.>");
    [MY_RESERVATIONS, OCCUPANCY].into_iter().fold(declaration, |declaration, (name, version)| {
        declaration.projects(ProjectionSpec::new::<ReservationEvent>(name, version, EVENT_STORES))
    })
}

fn gateway(streams: &Topology) -> Declaration {
    let declaration = Declaration::new(GATEWAY)
        .publishes::<PutRestaurant>()
        .publishes::<RequestReservation>()
        .publishes::<ConfirmReservation>()
        .publishes::<CancelReservation>()
        .publishes::<RecordNoShow>()
        .requests("catalogue.query.>")
        .requests("reservation.query.get.*")
        .requests("projection.query.>")
        .subscribes("reservation.event.>");
    access::of_gateway(declaration, streams)
}

/// Reads topology.json: the streams and the bucket.
pub fn streams() -> Result<Topology, TopologyError> {
    Topology::parse(include_str!("../topology.json"))
}

/// Returns the streams, and the consumers of all services.
pub fn topology() -> Result<Topology, DeclarationError> {
    declarations()?.iter().try_fold(streams()?, Topology::with)
}
