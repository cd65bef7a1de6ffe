//! Every message, its producer, and its consumers.

use std::collections::BTreeSet;

use choreography::Kind;
use choreography::catalogue::catalogue;
use contracts::declaration::{declarations, full_declarations, full_topology, topology};
use contracts::topology::{API_GATEWAY, IDENTITY_SERVICE, PROJECTION_SERVICE};

use crate::messages;

#[test]
fn every_published_message_has_a_unique_type_and_a_description() {
    let published: Vec<_> = full_declarations().iter().flat_map(|service| service.published().to_vec()).collect();
    let types: BTreeSet<&str> = published.iter().map(|message| message.message_type).collect();
    assert_eq!(types.len(), published.len());
    for message in messages() {
        assert!(!message.description.is_empty(), "{message:?}");
    }
}

#[test]
fn the_gateway_publishes_commands_and_each_service_the_events_and_timers_of_its_context() {
    for message in messages() {
        let of_context = format!("{}-service", message.context);
        let producer = if message.kind == Kind::Command { API_GATEWAY } else { &of_context };
        assert_eq!(message.producer, producer, "{message:?}");
    }
}

#[test]
fn the_service_of_a_context_consumes_its_commands_and_timers() {
    let catalogue = catalogue(&full_declarations());
    for entry in catalogue.iter().filter(|entry| entry.message.kind != Kind::Event) {
        assert_eq!(entry.consumers, [format!("{}-service", entry.message.context)], "{entry:?}");
    }
}

#[test]
fn the_consumers_of_an_event_follow_from_the_declarations() {
    let catalogue = catalogue(&declarations());
    let of = |message_type: &str| {
        let entry = catalogue.iter().find(|entry| entry.message.message_type == message_type).unwrap();
        entry.consumers.clone()
    };
    assert_eq!(of("order.placed.v1"), ["inventory-service", "payment-service"]);
    assert_eq!(of("inventory.reserved.v1"), ["order-service", "payment-service"]);
    assert_eq!(of("order.reserved.v1"), [""; 0]);
    let confirmed = catalogue.iter().find(|entry| entry.message.message_type == "order.confirmed.v1").unwrap();
    let projections =
        ["order-search-v1", "sales-v1", "customers-v1"].map(|name| (PROJECTION_SERVICE, name.to_owned()));
    assert_eq!(confirmed.projections, projections);
}

#[test]
fn every_service_matches_the_streams_and_has_one_consumer_per_stream() {
    let full = full_topology().unwrap();
    for declaration in full_declarations() {
        assert_eq!(declaration.check(&full).unwrap().len(), full.streams_of(declaration.service()).len());
    }
    assert_eq!(full.consumers.len(), 9);
    let without_sign_in = topology().unwrap();
    assert_eq!(without_sign_in.consumers.len(), 8);
    assert!(without_sign_in.streams_of(IDENTITY_SERVICE).is_empty());
}

#[test]
fn the_dashboard_draws_every_service() {
    let script = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../web/lib/services.js")).unwrap();
    let list = script.split_once("SERVICES = [").unwrap().1.split_once(']').unwrap().0;
    let drawn: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert_eq!(drawn, declarations().map(|service| service.service()));
}
