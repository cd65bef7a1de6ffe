//! For each invariant, records that break it.

use std::collections::{BTreeMap, BTreeSet};

use faults::check::{INVARIANTS, check};
use faults::history::Exchange;
use faults::recorded::{Ended, Exposure, Notification, OTHER_CLIENT, Recorded, Stored};
use serde_json::{Value, json};

use crate::story::{CANCELLED, CONFIRMED, CUSTOMER, PRODUCT, WAITING, ask, say, story};

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

fn order<'a>(told: &'a mut Recorded, order_id: &str) -> &'a mut Value {
    told.orders.get_mut(order_id).unwrap()
}

fn message<'a>(told: &'a mut Recorded, id: &str) -> &'a mut Stored {
    told.messages.iter_mut().find(|message| message.id() == id).unwrap()
}

fn header(told: &mut Recorded, id: &str, name: &str, value: &str) {
    message(told, id).headers.insert(name.to_owned(), value.to_owned());
}

fn forget(told: &mut Recorded, id: &str) {
    told.messages.retain(|message| message.id() != id);
}

#[test]
fn a_sound_record_breaks_nothing_and_gives_every_check_something_to_look_at() {
    let told = story();
    for outcome in check(&told) {
        assert_eq!(outcome.found.violations, [], "{}", outcome.invariant.name);
        assert!(outcome.found.looked_at > 0, "{}", outcome.invariant.name);
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
    let mut told = story();
    let again = told.messages.clone();
    told.messages.extend(again);
    assert_eq!(broken(&told), BTreeSet::new());
}

#[test]
fn a_cancel_of_an_order_that_never_came_is_kept() {
    let mut told = story();
    ask(&mut told, "POST", "/orders/ORDER_9/cancel", None, json!({}), 202, json!({}));
    assert!(broken(&told).contains("cancels-heeded"));
    say(&mut told, "order.command.cancel.ORDER_9", "n1", "", 0, json!({"orderId": "ORDER_9"}));
    say(&mut told, "order.event.cancel-deferred.ORDER_9", "n2", "n1", 1, json!({"orderId": "ORDER_9"}));
    assert_eq!(broken(&told), BTreeSet::new());
}

#[test]
fn an_order_that_is_lost_or_stuck_is_found_out() {
    found_out("orders-end", |told| drop(told.orders.remove(CONFIRMED)));
    found_out("orders-end", |told| order(told, CONFIRMED)["status"] = json!("reserved"));
    found_out("orders-end", |told| told.products.get_mut(PRODUCT).unwrap().available = 30);
}

#[test]
fn an_order_that_nobody_asked_for_is_found_out() {
    found_out("orders-as-asked", |told| order(told, WAITING)["items"][0]["quantity"] = json!(21));
    found_out("orders-as-asked", |told| told.exchanges.retain(|exchange| exchange.body["orderId"] != WAITING));
}

#[test]
fn an_end_without_its_messages_is_found_out() {
    for id in ["c2", "c3", "c4", "c5", "c6"] {
        found_out("ends-explained", |told| forget(told, id));
    }
    for id in ["x2", "x6", "x7", "x8", "x9"] {
        found_out("ends-explained", |told| forget(told, id));
    }
    found_out("ends-explained", |told| header(told, "c6", "ce-causationid", "c3"));
    found_out("ends-explained", |told| message(told, "c5").body["amount"] = json!(100));
    found_out("ends-explained", |told| order(told, CANCELLED)["reason"] = json!({"code": "stock-deadline"}));
    found_out("ends-explained", |told| {
        let reason = json!({"code": "payment-declined", "reason": "no-card"});
        order(told, CANCELLED)["reason"] = reason.clone();
        message(told, "x7").body["reason"] = reason;
    });
    found_out("ends-explained", |told| {
        let subject = format!("order.event.cancelled.{CONFIRMED}");
        say(told, &subject, "c7", "c5", 4, json!({"reason": {"code": "customer"}}));
    });
}

#[test]
fn a_cancel_that_was_ignored_is_found_out() {
    found_out("cancels-heeded", |told| {
        ask(told, "POST", &format!("/orders/{CONFIRMED}/cancel"), None, json!({}), 202, json!({}));
    });
}

#[test]
fn stock_from_nowhere_and_stock_that_vanished_are_found_out() {
    found_out("stock-conserved", |told| told.products.get_mut(PRODUCT).unwrap().available += 1);
    found_out("stock-conserved", |told| told.products.get_mut(PRODUCT).unwrap().reserved -= 1);
    found_out("stock-conserved", |told| {
        told.reservations.get_mut(CONFIRMED).unwrap().status = "released".to_owned()
    });
    found_out("stock-conserved", |told| drop(told.reservations.remove(WAITING)));
}

#[test]
fn a_restock_that_counts_twice_or_never_is_found_out() {
    found_out("restocks-once", |told| forget(told, "r2"));
    found_out("restocks-once", |told| {
        let body = json!({"productId": PRODUCT, "quantity": 10});
        say(told, &format!("inventory.event.restocked.{PRODUCT}"), "r3", "r1", 2, body);
    });
    // Two commands of one key.
    found_out("restocks-once", |told| {
        let body = json!({"productId": PRODUCT, "quantity": 10});
        say(told, &format!("inventory.command.restock.{PRODUCT}"), "r3", "", 0, body.clone());
        say(told, &format!("inventory.event.restocked.{PRODUCT}"), "r4", "r3", 2, body);
    });
}

#[test]
fn a_second_reservation_or_release_is_found_out() {
    let lines = json!({"lines": [{"productId": PRODUCT, "quantity": 2}]});
    found_out("reservations-once", |told| {
        say(told, &format!("inventory.event.reserved.{CONFIRMED}"), "c9", "c2", 2, lines.clone());
    });
    found_out("reservations-once", |told| {
        say(told, &format!("inventory.event.released.{CANCELLED}"), "x99", "x7", 3, lines.clone());
    });
    found_out("reservations-once", |told| message(told, "x8").body["lines"][0]["quantity"] = json!(1));
    found_out("reservations-once", |told| message(told, "c3").body["lines"][0]["quantity"] = json!(3));
}

#[test]
fn money_taken_twice_kept_or_missing_is_found_out() {
    found_out("money-conserved", |told| {
        let mut again = told.ledger[0].clone();
        again["reference"] = json!("cap_9");
        told.ledger.push(again);
    });
    found_out("money-conserved", |told| told.ledger.retain(|entry| entry["kind"] != "refunded"));
    found_out("money-conserved", |told| drop(told.ledger.remove(0)));
    found_out("money-conserved", |told| told.ledger[0]["amount"] = json!(300));
    found_out("money-conserved", |told| told.ledger[0]["orderId"] = json!("ORDER_9"));
    found_out("money-conserved", |told| {
        let refund = json!({"kind": "refunded", "reference": "cap_1"});
        told.ledger.push(refund);
    });
}

#[test]
fn a_payment_event_that_lies_is_found_out() {
    found_out("payments-true", |told| message(told, "c5").body["reference"] = json!("cap_9"));
    found_out("payments-true", |told| told.ledger.retain(|entry| entry["kind"] != "refunded"));
    found_out("payments-true", |told| told.payments.get_mut(CONFIRMED).unwrap().status = "capturing".to_owned());
    found_out("payments-true", |told| {
        let body = json!({"orderId": CONFIRMED, "reason": "no-card"});
        say(told, &format!("payment.event.declined.{CONFIRMED}"), "c8", "c3", 4, body);
    });
}

#[test]
fn a_limit_that_was_exceeded_is_found_out() {
    found_out("limits-hold", |told| {
        message(told, "a2").body["details"]["creditLimit"]["amount"] = json!(300);
    });
    found_out("limits-hold", |told| forget(told, "a2"));
}

#[test]
fn an_exposure_that_does_not_add_up_is_found_out() {
    found_out("exposures-add-up", |told| told.exposures[0].amount += 1);
    found_out("exposures-add-up", |told| told.exposures.clear());
    found_out("exposures-add-up", |told| {
        let other = Exposure { currency: "USD".to_owned(), ..told.exposures[0].clone() };
        told.exposures.push(other);
    });
}

#[test]
fn a_customer_who_is_told_twice_or_not_at_all_or_of_nothing_is_found_out() {
    found_out("told-once", |told| told.notifications.push(told.notifications[0].clone()));
    found_out("told-once", |told| drop(told.notifications.pop()));
    found_out("told-once", |told| {
        let of_nothing = Notification { event_id: "n1".to_owned(), ..told.notifications[0].clone() };
        told.notifications.push(of_nothing);
    });
    found_out("told-once", |told| told.notifications[0].customer_id = "CUSTOMER_02".to_owned());
}

/// Adds a charge of another client under the key of an order.
fn take_key(told: &mut Recorded, order_id: &str) {
    told.ledger.push(json!({"kind": "captured", "key": format!("{order_id}:shop:digest"), "orderId": "OTHER_1",
        "amount": 1, "currency": "EUR", "token": OTHER_CLIENT, "reference": "cap_9"}));
}

#[test]
fn a_key_of_other_money_that_pays_for_an_order_or_that_nobody_settles_is_found_out() {
    let mut told = story();
    take_key(&mut told, CANCELLED);
    told.alarms.insert(CANCELLED.to_owned());
    assert_eq!(broken(&told), BTreeSet::new());
    found_out("alarms-explained", |told| take_key(told, CANCELLED));
    found_out("alarms-explained", |told| assert!(told.alarms.insert(CANCELLED.to_owned())));
    found_out("alarms-explained", |told| {
        take_key(told, CONFIRMED);
        told.alarms.insert(CONFIRMED.to_owned());
    });
}

#[test]
fn an_order_whose_reservation_is_another_one_is_found_out() {
    found_out("reservations-match", |told| drop(told.reservations.remove(CONFIRMED)));
    found_out("reservations-match", |told| {
        told.reservations.get_mut(CONFIRMED).unwrap().lines.insert(PRODUCT.to_owned(), 3);
    });
    found_out("reservations-match", |told| {
        told.reservations.get_mut(CANCELLED).unwrap().status = "reserved".to_owned();
    });
}

#[test]
fn a_refusal_that_does_not_say_when_to_come_again_is_found_out() {
    for retry_after in [None, Some(0)] {
        found_out("refusals-say-when", |told| {
            let (status, answer) = (503, Value::Null);
            told.exchanges.push(Exchange { status, answer, retry_after, ..told.exchanges[0].clone() });
        });
    }
}

#[test]
fn a_message_that_was_discarded_before_it_was_copied_is_found_out() {
    found_out("all-copied", |told| told.missed.extend([("EVENTS".to_owned(), 1)]));
}

#[test]
fn two_answers_to_one_request_are_found_out() {
    found_out("answers-repeat", |told| told.exchanges[1].answer = json!({}));
    found_out("answers-repeat", |told| told.exchanges[4].status = 422);
}

#[test]
fn an_answer_that_nobody_promised_is_found_out() {
    found_out("answers-documented", |told| told.exchanges[1].status = 500);
    found_out("answers-documented", |told| told.exchanges[1].status = 404);
}

#[test]
fn a_change_of_an_account_that_was_lost_is_found_out() {
    found_out("accounts-kept", |told| {
        let mut other = told.exchanges[0].answer.clone();
        other["version"] = json!(2);
        ask(told, "PUT", &format!("/accounts/{CUSTOMER}"), None, json!({}), 200, other);
    });
    found_out("accounts-kept", |told| told.exchanges[0].answer["name"] = json!("Eve"));
    found_out("accounts-kept", |told| told.accounts.get_mut(CUSTOMER).unwrap()["name"] = json!("Eve"));
    found_out("accounts-kept", |told| told.accounts.clear());
}

#[test]
fn an_acknowledged_request_that_is_not_stored_is_found_out() {
    for id in ["a1", "r1", "w1", "x6"] {
        found_out("commands-stored", |told| forget(told, id));
    }
}

#[test]
fn a_command_without_effect_is_found_out() {
    found_out("commands-answered", |told| forget(told, "r2"));
    found_out("commands-answered", |told| forget(told, "a2"));
    found_out("commands-answered", |told| forget(told, "w2"));
    found_out("commands-answered", |told| {
        say(told, &format!("order.command.cancel.{CONFIRMED}"), "c7", "", 0, json!({"orderId": CONFIRMED}));
    });
}

#[test]
fn an_event_without_its_cause_or_of_another_flow_is_found_out() {
    found_out("causes-exist", |told| forget(told, "c1"));
    found_out("causes-exist", |told| header(told, "c4", "ce-causationid", "nobody"));
    found_out("causes-exist", |told| header(told, "c4", "ce-correlationid", "nobody"));
    found_out("causes-exist", |told| header(told, "c4", "ce-correlationid", "r1"));
}

#[test]
fn a_gap_or_a_fork_in_versions_is_found_out() {
    found_out("versions-contiguous", |told| header(told, "c6", "ce-aggregateversion", "4"));
    found_out("versions-contiguous", |told| header(told, "c6", "ce-aggregateversion", "2"));
    found_out("versions-contiguous", |told| header(told, "x8", "ce-aggregateversion", "1"));
    found_out("versions-contiguous", |told| header(told, "r2", "ce-aggregateversion", "2"));
}

#[test]
fn one_id_with_two_meanings_is_found_out() {
    found_out("duplicates-equal", |told| {
        let mut other = message(told, "c3").clone();
        other.body["lines"][0]["quantity"] = json!(3);
        told.messages.push(other);
    });
}

#[test]
fn an_event_that_is_kept_and_not_published_or_the_other_way_round_is_found_out() {
    found_out("histories-published", |told| drop(told.history.pop()));
    found_out("histories-published", |told| forget(told, "w4"));
}

#[test]
fn what_is_left_over_is_found_out() {
    found_out("nothing-left", |told| told.unpublished.values_mut().for_each(|left| *left = 1));
    found_out("nothing-left", |told| told.unsettled.values_mut().for_each(|left| *left = 1));
    found_out("nothing-left", |told| told.dead_letters.push(told.messages[0].clone()));
}

#[test]
fn a_member_that_does_not_recover_is_found_out() {
    found_out("all-recover", |told| told.unready.push("order-service: it does not answer".to_owned()));
}

#[test]
fn a_process_that_fell_is_found_out() {
    let ended = |in_order| Ended { member: "order-service".to_owned(), at: 1, how: "somehow".to_owned(), in_order };
    found_out("nobody-fell", |told| told.ended.push(ended(false)));
    let mut told = story();
    told.ended.push(ended(true));
    assert_eq!(broken(&told), BTreeSet::new());
}

#[test]
fn a_check_of_the_shop_that_does_not_pass_is_found_out() {
    found_out("invariants-agree", |told| told.invariants["checks"][0]["holds"] = json!(false));
    found_out("invariants-agree", |told| told.invariants["checks"][0]["holds"] = Value::Null);
    found_out("invariants-agree", |told| told.invariants = Value::Null);
}

#[test]
fn a_process_that_spins_is_found_out() {
    found_out("idle-at-rest", |told| told.idle_cpu = BTreeMap::from([("order-service".to_owned(), 98.0)]));
}

#[test]
fn a_flooded_log_is_found_out() {
    found_out("logs-bounded", |told| told.log_lines = BTreeMap::from([("order-service".to_owned(), 40_000)]));
}

#[test]
fn a_password_in_the_output_is_found_out() {
    found_out("secrets-kept", |told| told.leaks.push("order-service: order-service-dev".to_owned()));
}

#[test]
fn a_process_that_does_not_end_when_asked_to_is_found_out() {
    for exit in ["exit status: 1", "killed: it did not end in time"] {
        found_out("shutdown-clean", |told| drop(told.exits.insert("order-service".to_owned(), exit.to_owned())));
    }
}
