//! Every message, who says it, and who hears it.

use std::collections::BTreeSet;

use contracts::catalogue::{Consumers, messages};

#[test]
fn every_message_has_a_type_of_its_own_and_somebody_who_may_say_it() {
    let types: BTreeSet<&str> = messages().map(|message| message.message_type).collect();
    assert_eq!(types.len(), messages().count());
    for message in messages() {
        assert!(message.producer().is_some(), "{message:?}");
        assert!(!message.description.trim().is_empty(), "{message:?}");
    }
}

#[test]
fn every_command_and_every_timer_is_heard_by_the_service_of_its_context() {
    let consumers = Consumers::declared().unwrap();
    for message in messages().filter(|message| message.kind != "event") {
        assert_eq!(consumers.of(message), [format!("{}-service", message.context)], "{message:?}");
    }
}

#[test]
fn who_hears_an_event_is_read_from_the_consumers() {
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
