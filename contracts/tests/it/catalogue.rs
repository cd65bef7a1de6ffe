//! Every message, its producer, and its consumers.

use std::collections::BTreeSet;

use choreography::Kind;
use contracts::catalogue::{Consumers, messages};
use contracts::topology::API_GATEWAY;

#[test]
fn every_message_has_a_unique_type_and_a_description() {
    let types: BTreeSet<&str> = messages().map(|message| message.message_type).collect();
    assert_eq!(types.len(), messages().count());
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
    let consumers = Consumers::declared().unwrap();
    for message in messages().filter(|message| message.kind != Kind::Event) {
        assert_eq!(consumers.of(message), [format!("{}-service", message.context)], "{message:?}");
    }
}

#[test]
fn the_consumers_of_an_event_follow_from_the_topology() {
    let consumers = Consumers::declared().unwrap();
    let of = |message_type: &str| {
        let message = messages().find(|message| message.message_type == message_type).unwrap();
        consumers.of(message)
    };
    assert_eq!(of("order.placed.v1"), ["inventory-service", "payment-service"]);
    assert_eq!(of("inventory.reserved.v1"), ["order-service", "payment-service"]);
    assert_eq!(of("order.reserved.v1"), [""; 0]);
    let all = ["account-service", "inventory-service", "notification-service", "order-service", "payment-service"];
    assert_eq!(consumers.services(), all);
}
