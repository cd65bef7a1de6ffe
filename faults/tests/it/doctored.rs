//! For each invariant, records that break it.

use std::collections::{BTreeMap, BTreeSet};

use faults::check::{INVARIANTS, check};
use faults::history::Exchange;
use faults::recorded::{Ended, Exposure, Notification, OTHER_CLIENT, Recorded, Stored};
use serde_json::{Value, json};

use crate::story::{CANCELLED, CONFIRMED, CUSTOMER, PRODUCT, WAITING, ask, log, story};

/// Returns the invariants that a record breaks.
fn broken(recorded: &Recorded) -> BTreeSet<&'static str> {
    let outcomes = check(recorded);
    outcomes
        .iter()
        .filter(|outcome| !outcome.found.violations.is_empty())
        .map(|outcome| outcome.invariant.name)
        .collect()
}

/// Doctors the story, and looks whether an invariant finds it out.
fn found_out(invariant: &str, doctor: impl Fn(&mut Recorded)) {
    let mut doctored = story();
    doctor(&mut doctored);
    let broken = broken(&doctored);
    assert!(broken.contains(invariant), "{invariant} holds, and {broken:?} do not");
}

fn order<'a>(recorded: &'a mut Recorded, order_id: &str) -> &'a mut Value {
    recorded.orders.get_mut(order_id).unwrap()
}

fn message<'a>(recorded: &'a mut Recorded, id: &str) -> &'a mut Stored {
    recorded.messages.iter_mut().find(|message| message.id() == id).unwrap()
}

fn header(recorded: &mut Recorded, id: &str, name: &str, value: &str) {
    message(recorded, id).headers.insert(name.to_owned(), value.to_owned());
}

fn forget(recorded: &mut Recorded, id: &str) {
    recorded.messages.retain(|message| message.id() != id);
}

#[test]
fn a_sound_record_breaks_nothing_and_gives_every_check_something_to_look_at() {
    let recorded = story();
    for outcome in check(&recorded) {
        assert_eq!(outcome.found.violations, [], "{}", outcome.invariant.name);
        assert!(outcome.found.examined > 0, "{}", outcome.invariant.name);
    }
}

#[test]
fn every_invariant_is_doctored_here() {
    let source = include_str!("doctored.rs");
    for invariant in INVARIANTS {
        assert!(source.contains(&format!("found_out(\"{}\"", invariant.name)), "{}", invariant.name);
    }
}

#[test]
fn a_stored_message_may_come_twice() {
    let mut recorded = story();
    let again = recorded.messages.clone();
    recorded.messages.extend(again);
    assert_eq!(broken(&recorded), BTreeSet::new());
}

#[test]
fn a_cancel_of_an_order_that_never_came_is_kept() {
    let mut recorded = story();
    ask(&mut recorded, "POST", "/orders/ORDER_9/cancel", None, json!({}), 202, json!({}));
    assert!(broken(&recorded).contains("cancels-heeded"));
    log(&mut recorded, "order.command.cancel.ORDER_9", "n1", "", 0, json!({"orderId": "ORDER_9"}));
    log(&mut recorded, "order.event.cancel-deferred.ORDER_9", "n2", "n1", 1, json!({"orderId": "ORDER_9"}));
    assert_eq!(broken(&recorded), BTreeSet::new());
}

#[test]
fn an_order_that_is_lost_or_stuck_is_found_out() {
    found_out("orders-end", |recorded| drop(recorded.orders.remove(CONFIRMED)));
    found_out("orders-end", |recorded| order(recorded, CONFIRMED)["status"] = json!("reserved"));
    found_out("orders-end", |recorded| recorded.products.get_mut(PRODUCT).unwrap().available = 30);
}

#[test]
fn an_order_that_nobody_asked_for_is_found_out() {
    found_out("orders-as-asked", |recorded| order(recorded, WAITING)["items"][0]["quantity"] = json!(21));
    found_out("orders-as-asked", |recorded| {
        recorded.exchanges.retain(|exchange| exchange.body["orderId"] != WAITING)
    });
}

#[test]
fn an_end_without_its_messages_is_found_out() {
    for id in ["c2", "c3", "c4", "c5", "c6"] {
        found_out("ends-explained", |recorded| forget(recorded, id));
    }
    for id in ["x2", "x6", "x7", "x8", "x9"] {
        found_out("ends-explained", |recorded| forget(recorded, id));
    }
    found_out("ends-explained", |recorded| header(recorded, "c6", "ce-causationid", "c3"));
    found_out("ends-explained", |recorded| message(recorded, "c5").body["amount"] = json!(100));
    found_out("ends-explained", |recorded| {
        order(recorded, CANCELLED)["reason"] = json!({"code": "stock-deadline"})
    });
    found_out("ends-explained", |recorded| {
        let reason = json!({"code": "payment-declined", "reason": "no-card"});
        order(recorded, CANCELLED)["reason"] = reason.clone();
        message(recorded, "x7").body["reason"] = reason;
    });
    found_out("ends-explained", |recorded| {
        let subject = format!("order.event.cancelled.{CONFIRMED}");
        log(recorded, &subject, "c7", "c5", 4, json!({"reason": {"code": "customer"}}));
    });
}

#[test]
fn a_cancel_that_was_ignored_is_found_out() {
    found_out("cancels-heeded", |recorded| {
        ask(recorded, "POST", &format!("/orders/{CONFIRMED}/cancel"), None, json!({}), 202, json!({}));
    });
}

#[test]
fn stock_from_nowhere_and_stock_that_vanished_are_found_out() {
    found_out("stock-conserved", |recorded| recorded.products.get_mut(PRODUCT).unwrap().available += 1);
    found_out("stock-conserved", |recorded| recorded.products.get_mut(PRODUCT).unwrap().reserved -= 1);
    found_out("stock-conserved", |recorded| {
        recorded.reservations.get_mut(CONFIRMED).unwrap().status = "released".to_owned()
    });
    found_out("stock-conserved", |recorded| drop(recorded.reservations.remove(WAITING)));
}

#[test]
fn a_restock_that_counts_twice_or_never_is_found_out() {
    found_out("restocks-once", |recorded| forget(recorded, "r2"));
    found_out("restocks-once", |recorded| {
        let body = json!({"productId": PRODUCT, "quantity": 10});
        log(recorded, &format!("inventory.event.restocked.{PRODUCT}"), "r3", "r1", 2, body);
    });
    // Two commands of one key.
    found_out("restocks-once", |recorded| {
        let body = json!({"productId": PRODUCT, "quantity": 10});
        log(recorded, &format!("inventory.command.restock.{PRODUCT}"), "r3", "", 0, body.clone());
        log(recorded, &format!("inventory.event.restocked.{PRODUCT}"), "r4", "r3", 2, body);
    });
}

#[test]
fn a_second_reservation_or_release_is_found_out() {
    let lines = json!({"lines": [{"productId": PRODUCT, "quantity": 2}]});
    found_out("reservations-once", |recorded| {
        log(recorded, &format!("inventory.event.reserved.{CONFIRMED}"), "c9", "c2", 2, lines.clone());
    });
    found_out("reservations-once", |recorded| {
        log(recorded, &format!("inventory.event.released.{CANCELLED}"), "x99", "x7", 3, lines.clone());
    });
    found_out("reservations-once", |recorded| message(recorded, "x8").body["lines"][0]["quantity"] = json!(1));
    found_out("reservations-once", |recorded| message(recorded, "c3").body["lines"][0]["quantity"] = json!(3));
}

#[test]
fn money_taken_twice_kept_or_missing_is_found_out() {
    found_out("money-conserved", |recorded| {
        let mut again = recorded.ledger[0].clone();
        again["reference"] = json!("cap_9");
        recorded.ledger.push(again);
    });
    found_out("money-conserved", |recorded| recorded.ledger.retain(|entry| entry["kind"] != "refunded"));
    found_out("money-conserved", |recorded| drop(recorded.ledger.remove(0)));
    found_out("money-conserved", |recorded| recorded.ledger[0]["amount"] = json!(300));
    found_out("money-conserved", |recorded| recorded.ledger[0]["orderId"] = json!("ORDER_9"));
    found_out("money-conserved", |recorded| {
        let refund = json!({"kind": "refunded", "reference": "cap_1"});
        recorded.ledger.push(refund);
    });
}

#[test]
fn a_payment_event_that_lies_is_found_out() {
    found_out("payments-true", |recorded| message(recorded, "c5").body["reference"] = json!("cap_9"));
    found_out("payments-true", |recorded| recorded.ledger.retain(|entry| entry["kind"] != "refunded"));
    found_out("payments-true", |recorded| {
        recorded.payments.get_mut(CONFIRMED).unwrap().status = "capturing".to_owned()
    });
    found_out("payments-true", |recorded| {
        let body = json!({"orderId": CONFIRMED, "reason": "no-card"});
        log(recorded, &format!("payment.event.declined.{CONFIRMED}"), "c8", "c3", 4, body);
    });
}

#[test]
fn a_limit_that_was_exceeded_is_found_out() {
    found_out("limits-hold", |recorded| {
        message(recorded, "a2").body["details"]["creditLimit"]["amount"] = json!(300);
    });
    found_out("limits-hold", |recorded| forget(recorded, "a2"));
}

#[test]
fn an_exposure_that_does_not_add_up_is_found_out() {
    found_out("exposures-add-up", |recorded| recorded.exposures[0].amount += 1);
    found_out("exposures-add-up", |recorded| recorded.exposures.clear());
    found_out("exposures-add-up", |recorded| {
        let other = Exposure { currency: "USD".to_owned(), ..recorded.exposures[0].clone() };
        recorded.exposures.push(other);
    });
}

#[test]
fn a_customer_who_is_told_twice_or_not_at_all_or_of_nothing_is_found_out() {
    found_out("notified-once", |recorded| recorded.notifications.push(recorded.notifications[0].clone()));
    found_out("notified-once", |recorded| drop(recorded.notifications.pop()));
    found_out("notified-once", |recorded| {
        let of_nothing = Notification { event_id: "n1".to_owned(), ..recorded.notifications[0].clone() };
        recorded.notifications.push(of_nothing);
    });
    found_out("notified-once", |recorded| recorded.notifications[0].customer_id = "CUSTOMER_02".to_owned());
}

/// Adds a charge of another client under the key of an order.
fn take_key(recorded: &mut Recorded, order_id: &str) {
    recorded
        .ledger
        .push(json!({"kind": "captured", "key": format!("{order_id}:shop:digest"), "orderId": "OTHER_1",
        "amount": 1, "currency": "EUR", "token": OTHER_CLIENT, "reference": "cap_9"}));
}

#[test]
fn a_key_of_other_money_that_pays_for_an_order_or_that_nobody_settles_is_found_out() {
    let mut recorded = story();
    take_key(&mut recorded, CANCELLED);
    recorded.alarms.insert(CANCELLED.to_owned());
    assert_eq!(broken(&recorded), BTreeSet::new());
    found_out("alarms-explained", |recorded| take_key(recorded, CANCELLED));
    found_out("alarms-explained", |recorded| assert!(recorded.alarms.insert(CANCELLED.to_owned())));
    found_out("alarms-explained", |recorded| {
        take_key(recorded, CONFIRMED);
        recorded.alarms.insert(CONFIRMED.to_owned());
    });
}

#[test]
fn an_order_whose_reservation_is_another_one_is_found_out() {
    found_out("reservations-match", |recorded| drop(recorded.reservations.remove(CONFIRMED)));
    found_out("reservations-match", |recorded| {
        recorded.reservations.get_mut(CONFIRMED).unwrap().lines.insert(PRODUCT.to_owned(), 3);
    });
    found_out("reservations-match", |recorded| {
        recorded.reservations.get_mut(CANCELLED).unwrap().status = "reserved".to_owned();
    });
}

#[test]
fn a_refusal_that_does_not_say_when_to_come_again_is_found_out() {
    for retry_after in [None, Some(0)] {
        found_out("refusals-say-when", |recorded| {
            let (status, answer) = (503, Value::Null);
            recorded.exchanges.push(Exchange { status, answer, retry_after, ..recorded.exchanges[0].clone() });
        });
    }
}

#[test]
fn a_message_that_was_discarded_before_it_was_copied_is_found_out() {
    found_out("all-copied", |recorded| recorded.missed.extend([("EVENTS".to_owned(), 1)]));
}

#[test]
fn two_answers_to_one_request_are_found_out() {
    found_out("answers-repeat", |recorded| recorded.exchanges[1].answer = json!({}));
    found_out("answers-repeat", |recorded| recorded.exchanges[4].status = 422);
}

#[test]
fn an_answer_that_nobody_promised_is_found_out() {
    found_out("answers-documented", |recorded| recorded.exchanges[1].status = 500);
    found_out("answers-documented", |recorded| recorded.exchanges[1].status = 404);
}

#[test]
fn a_change_of_an_account_that_was_lost_is_found_out() {
    found_out("accounts-kept", |recorded| {
        let mut other = recorded.exchanges[0].answer.clone();
        other["version"] = json!(2);
        ask(recorded, "PUT", &format!("/accounts/{CUSTOMER}"), None, json!({}), 200, other);
    });
    found_out("accounts-kept", |recorded| recorded.exchanges[0].answer["name"] = json!("Eve"));
    found_out("accounts-kept", |recorded| recorded.accounts.get_mut(CUSTOMER).unwrap()["name"] = json!("Eve"));
    found_out("accounts-kept", |recorded| recorded.accounts.clear());
}

#[test]
fn an_acknowledged_request_that_is_not_stored_is_found_out() {
    for id in ["a1", "r1", "w1", "x6"] {
        found_out("commands-stored", |recorded| forget(recorded, id));
    }
}

#[test]
fn a_command_without_effect_is_found_out() {
    found_out("commands-answered", |recorded| forget(recorded, "r2"));
    found_out("commands-answered", |recorded| forget(recorded, "a2"));
    found_out("commands-answered", |recorded| forget(recorded, "w2"));
    found_out("commands-answered", |recorded| {
        log(recorded, &format!("order.command.cancel.{CONFIRMED}"), "c7", "", 0, json!({"orderId": CONFIRMED}));
    });
}

#[test]
fn an_event_without_its_cause_or_of_another_flow_is_found_out() {
    found_out("causes-exist", |recorded| forget(recorded, "c1"));
    found_out("causes-exist", |recorded| header(recorded, "c4", "ce-causationid", "nobody"));
    found_out("causes-exist", |recorded| header(recorded, "c4", "ce-correlationid", "nobody"));
    found_out("causes-exist", |recorded| header(recorded, "c4", "ce-correlationid", "r1"));
}

#[test]
fn a_gap_or_a_fork_in_versions_is_found_out() {
    found_out("versions-contiguous", |recorded| header(recorded, "c6", "ce-aggregateversion", "4"));
    found_out("versions-contiguous", |recorded| header(recorded, "c6", "ce-aggregateversion", "2"));
    found_out("versions-contiguous", |recorded| header(recorded, "x8", "ce-aggregateversion", "1"));
    found_out("versions-contiguous", |recorded| header(recorded, "r2", "ce-aggregateversion", "2"));
}

#[test]
fn one_id_with_two_meanings_is_found_out() {
    found_out("duplicates-equal", |recorded| {
        let mut other = message(recorded, "c3").clone();
        other.body["lines"][0]["quantity"] = json!(3);
        recorded.messages.push(other);
    });
}

#[test]
fn an_event_that_is_kept_and_not_published_or_the_other_way_round_is_found_out() {
    found_out("histories-published", |recorded| drop(recorded.history.pop()));
    found_out("histories-published", |recorded| forget(recorded, "w4"));
}

#[test]
fn what_is_left_over_is_found_out() {
    found_out("nothing-left", |recorded| recorded.outbox_pending.values_mut().for_each(|left| *left = 1));
    found_out("nothing-left", |recorded| recorded.unsettled.values_mut().for_each(|left| *left = 1));
    found_out("nothing-left", |recorded| recorded.dead_letters.push(recorded.messages[0].clone()));
}

#[test]
fn a_component_that_does_not_recover_is_found_out() {
    found_out("all-recover", |recorded| recorded.unready.push("order-service: it does not answer".to_owned()));
}

#[test]
fn a_process_that_fell_is_found_out() {
    let ended =
        |in_order| Ended { component: "order-service".to_owned(), at: 1, how: "somehow".to_owned(), in_order };
    found_out("nobody-fell", |recorded| recorded.ended.push(ended(false)));
    let mut recorded = story();
    recorded.ended.push(ended(true));
    assert_eq!(broken(&recorded), BTreeSet::new());
}

#[test]
fn a_check_of_the_shop_that_does_not_pass_is_found_out() {
    found_out("invariants-agree", |recorded| recorded.invariants["checks"][0]["status"] = json!("fail"));
    found_out("invariants-agree", |recorded| recorded.invariants["checks"][0]["status"] = json!("unknown"));
    found_out("invariants-agree", |recorded| recorded.invariants = Value::Null);
}

#[test]
fn a_process_that_spins_is_found_out() {
    found_out("idle-at-rest", |recorded| recorded.idle_cpu = BTreeMap::from([("order-service".to_owned(), 98.0)]));
}

#[test]
fn a_flooded_log_is_found_out() {
    found_out("logs-bounded", |recorded| {
        recorded.log_lines = BTreeMap::from([("order-service".to_owned(), 40_000)])
    });
}

#[test]
fn a_password_in_the_output_is_found_out() {
    found_out("secrets-kept", |recorded| recorded.leaks.push("order-service: order-service-dev".to_owned()));
}

#[test]
fn a_process_that_does_not_end_when_asked_to_is_found_out() {
    for exit in ["exit status: 1", "killed: it did not end in time"] {
        found_out("shutdown-clean", |recorded| {
            drop(recorded.exits.insert("order-service".to_owned(), exit.to_owned()))
        });
    }
}
