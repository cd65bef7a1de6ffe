//! Invariants for messages in any order and any number of times.

use choreography::{Messages as _, Publish as _};
use contracts::order::OrderEvent;
use contracts::query::OrderStatus;
use order_service::order::{Order, OrderMessage, decide, evolve};
use proptest::prelude::*;

use crate::{
    cancel, payment_captured, payment_declined, place, play, stock_backordered, stock_deadline, stock_refused,
    stock_reserved,
};

fn any_message() -> impl Strategy<Value = OrderMessage> {
    prop_oneof![
        Just(place(3)),
        Just(place(4)),
        Just(cancel()),
        Just(stock_reserved()),
        Just(stock_backordered()),
        Just(stock_refused()),
        Just(payment_captured()),
        Just(payment_declined()),
        Just(stock_deadline())
    ]
}

proptest! {
    #[test]
    fn a_final_order_stays_as_it_is(messages in prop::collection::vec(any_message(), 0..20)) {
        let mut order = Order::default();
        for message in &messages {
            let events = decide(&order, message);
            let after = events.iter().fold(order.clone(), evolve);
            if order.status().is_some_and(OrderStatus::is_final) {
                prop_assert_eq!(&after, &order);
            }
            order = after;
        }
    }

    #[test]
    fn a_message_that_is_repeated_at_once_changes_nothing(messages in prop::collection::vec(any_message(), 1..20)) {
        let (order, _) = play(&messages);
        let again = decide(&order, messages.last().unwrap());
        prop_assert_eq!(again.iter().fold(order.clone(), evolve), order);
    }

    #[test]
    fn messages_repeated_anywhere_end_in_the_same_state(
        messages in prop::collection::vec(any_message(), 0..8),
        repeats in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        // A repeated message arrives at some point after the first, never before it.
        let mut repeated = messages.clone();
        for index in repeats.iter().filter(|_| !messages.is_empty()) {
            let original = index.index(messages.len());
            repeated.push(messages[original].clone());
        }
        let (once, _) = play(&messages);
        let (twice, _) = play(&repeated);
        // A repeated message may have advanced an order that was still open, but not one that was final.
        if once.status().is_some_and(OrderStatus::is_final) {
            prop_assert_eq!(twice, once);
        }
    }

    #[test]
    fn the_messages_of_a_cancel_race_end_the_same_in_any_order(
        order in Just(vec![place(3), cancel(), cancel(), place(3)]).prop_shuffle(),
    ) {
        let (order, events) = play(&order);
        prop_assert_eq!(order.status(), Some(OrderStatus::Cancelled));
        let placed = events.iter().filter(|event| matches!(event, OrderEvent::Placed(_))).count();
        let cancelled = events.iter().filter(|event| matches!(event, OrderEvent::Cancelled(_))).count();
        prop_assert_eq!((placed, cancelled), (1, 1));
    }

    #[test]
    fn the_history_rebuilds_the_order(messages in prop::collection::vec(any_message(), 0..20)) {
        let (order, events) = play(&messages);
        let written: Vec<(String, Vec<u8>)> = events
            .iter()
            .map(|event| (event.message_type().to_owned(), serde_json::to_vec(event).unwrap()))
            .collect();
        let read = written.iter().map(|(kind, body)| OrderEvent::decode(kind, body).unwrap());
        let rebuilt = read.fold(Order::default(), |order, event| evolve(order, &event));
        prop_assert_eq!(rebuilt, order);
    }
}
