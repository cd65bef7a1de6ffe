//! For each invariant, records that violate it.

use std::collections::{BTreeMap, BTreeSet};

use faults::check::{INVARIANTS, check};
use faults::history::Exchange;
use faults::recorded::{Ended, Exposure, Notification, OTHER_CLIENT, Recorded, Stored};
use serde_json::{Value, json};

use crate::sound_record::{CANCELLED, CONFIRMED, CUSTOMER, PRODUCT, WAITING, add_exchange, log, sound_record};

/// Returns the invariants that a record violates.
fn violated(recorded: &Recorded) -> BTreeSet<&'static str> {
    let outcomes = check(recorded);
    outcomes
        .iter()
        .filter(|outcome| !outcome.found.violations.is_empty())
        .map(|outcome| outcome.invariant.name)
        .collect()
}

/// Doctors the sound record, and expects the violation of an invariant.
fn detects(invariant: &str, doctor: impl Fn(&mut Recorded)) {
    let mut doctored = sound_record();
    doctor(&mut doctored);
    let violated = violated(&doctored);
    assert!(violated.contains(invariant), "{invariant} is not violated, but {violated:?} are");
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
fn a_sound_record_violates_nothing_and_every_check_examines_an_item() {
    let recorded = sound_record();
    for outcome in check(&recorded) {
        assert_eq!(outcome.found.violations, [], "{}", outcome.invariant.name);
        assert!(outcome.found.examined > 0, "{}", outcome.invariant.name);
    }
}

#[test]
fn every_invariant_is_doctored_here() {
    let source = include_str!("doctored.rs");
    for invariant in INVARIANTS {
        assert!(source.contains(&format!("detects(\"{}\"", invariant.name)), "{}", invariant.name);
    }
}

#[test]
fn a_stored_message_may_come_twice() {
    let mut recorded = sound_record();
    let again = recorded.messages.clone();
    recorded.messages.extend(again);
    assert_eq!(violated(&recorded), BTreeSet::new());
}

#[test]
fn a_cancellation_before_its_order_is_deferred() {
    let mut recorded = sound_record();
    add_exchange(&mut recorded, "POST", "/orders/ORDER_9/cancel", None, json!({}), 202, json!({}));
    assert!(violated(&recorded).contains("cancellations-effective"));
    log(&mut recorded, "order.command.cancel.ORDER_9", "n1", "", 0, json!({"orderId": "ORDER_9"}));
    log(&mut recorded, "order.event.cancel-deferred.ORDER_9", "n2", "n1", 1, json!({"orderId": "ORDER_9"}));
    assert_eq!(violated(&recorded), BTreeSet::new());
}

#[test]
fn an_order_that_is_lost_or_stuck_is_found_out() {
    detects("orders-end", |recorded| drop(recorded.orders.remove(CONFIRMED)));
    detects("orders-end", |recorded| order(recorded, CONFIRMED)["status"] = json!("reserved"));
    detects("orders-end", |recorded| recorded.products.get_mut(PRODUCT).unwrap().available = 30);
}

#[test]
fn an_order_without_a_request_is_found_out() {
    detects("orders-as-requested", |recorded| order(recorded, WAITING)["items"][0]["quantity"] = json!(21));
    detects("orders-as-requested", |recorded| {
        recorded.exchanges.retain(|exchange| exchange.body["orderId"] != WAITING)
    });
}

#[test]
fn an_end_without_its_messages_is_found_out() {
    for id in ["c2", "c3", "c4", "c5", "c6"] {
        detects("ends-explained", |recorded| forget(recorded, id));
    }
    for id in ["x2", "x6", "x7", "x8", "x9"] {
        detects("ends-explained", |recorded| forget(recorded, id));
    }
    detects("ends-explained", |recorded| header(recorded, "c6", "ce-causationid", "c3"));
    detects("ends-explained", |recorded| message(recorded, "c5").body["amount"] = json!(100));
    detects("ends-explained", |recorded| order(recorded, CANCELLED)["reason"] = json!({"code": "stock-deadline"}));
    detects("ends-explained", |recorded| {
        let reason = json!({"code": "payment-declined", "reason": "no-card"});
        order(recorded, CANCELLED)["reason"] = reason.clone();
        message(recorded, "x7").body["reason"] = reason;
    });
    detects("ends-explained", |recorded| {
        let subject = format!("order.event.cancelled.{CONFIRMED}");
        log(recorded, &subject, "c7", "c5", 4, json!({"reason": {"code": "customer"}}));
    });
}

#[test]
fn an_ignored_cancellation_is_found_out() {
    detects("cancellations-effective", |recorded| {
        add_exchange(recorded, "POST", &format!("/orders/{CONFIRMED}/cancel"), None, json!({}), 202, json!({}));
    });
}

#[test]
fn stock_from_nowhere_and_stock_that_vanished_are_found_out() {
    detects("stock-conserved", |recorded| recorded.products.get_mut(PRODUCT).unwrap().available += 1);
    detects("stock-conserved", |recorded| recorded.products.get_mut(PRODUCT).unwrap().reserved -= 1);
    detects("stock-conserved", |recorded| {
        recorded.reservations.get_mut(CONFIRMED).unwrap().status = "released".to_owned()
    });
    detects("stock-conserved", |recorded| drop(recorded.reservations.remove(WAITING)));
}

#[test]
fn a_restock_that_counts_twice_or_never_is_found_out() {
    detects("restocks-once", |recorded| forget(recorded, "r2"));
    detects("restocks-once", |recorded| {
        let body = json!({"productId": PRODUCT, "quantity": 10});
        log(recorded, &format!("inventory.event.restocked.{PRODUCT}"), "r3", "r1", 2, body);
    });
    // Two commands with one key.
    detects("restocks-once", |recorded| {
        let body = json!({"productId": PRODUCT, "quantity": 10});
        log(recorded, &format!("inventory.command.restock.{PRODUCT}"), "r3", "", 0, body.clone());
        log(recorded, &format!("inventory.event.restocked.{PRODUCT}"), "r4", "r3", 2, body);
    });
}

#[test]
fn a_second_reservation_or_release_is_found_out() {
    let lines = json!({"lines": [{"productId": PRODUCT, "quantity": 2}]});
    detects("reservations-once", |recorded| {
        log(recorded, &format!("inventory.event.reserved.{CONFIRMED}"), "c9", "c2", 2, lines.clone());
    });
    detects("reservations-once", |recorded| {
        log(recorded, &format!("inventory.event.released.{CANCELLED}"), "x99", "x7", 3, lines.clone());
    });
    detects("reservations-once", |recorded| message(recorded, "x8").body["lines"][0]["quantity"] = json!(1));
    detects("reservations-once", |recorded| message(recorded, "c3").body["lines"][0]["quantity"] = json!(3));
}

#[test]
fn money_taken_twice_kept_or_missing_is_found_out() {
    detects("money-conserved", |recorded| {
        let mut again = recorded.ledger[0].clone();
        again["reference"] = json!("cap_9");
        recorded.ledger.push(again);
    });
    detects("money-conserved", |recorded| recorded.ledger.retain(|entry| entry["kind"] != "refunded"));
    detects("money-conserved", |recorded| drop(recorded.ledger.remove(0)));
    detects("money-conserved", |recorded| recorded.ledger[0]["amount"] = json!(300));
    detects("money-conserved", |recorded| recorded.ledger[0]["orderId"] = json!("ORDER_9"));
    detects("money-conserved", |recorded| {
        let refund = json!({"kind": "refunded", "reference": "cap_1"});
        recorded.ledger.push(refund);
    });
}

#[test]
fn a_false_payment_event_is_found_out() {
    detects("payments-true", |recorded| message(recorded, "c5").body["reference"] = json!("cap_9"));
    detects("payments-true", |recorded| recorded.ledger.retain(|entry| entry["kind"] != "refunded"));
    detects("payments-true", |recorded| {
        recorded.payments.get_mut(CONFIRMED).unwrap().status = "capturing".to_owned()
    });
    detects("payments-true", |recorded| {
        let body = json!({"orderId": CONFIRMED, "reason": "no-card"});
        log(recorded, &format!("payment.event.declined.{CONFIRMED}"), "c8", "c3", 4, body);
    });
}

#[test]
fn a_limit_that_was_exceeded_is_found_out() {
    detects("limits-hold", |recorded| {
        message(recorded, "a2").body["details"]["creditLimit"]["amount"] = json!(300);
    });
    detects("limits-hold", |recorded| forget(recorded, "a2"));
}

#[test]
fn an_exposure_that_does_not_reconcile_is_found_out() {
    detects("exposures-reconcile", |recorded| recorded.exposures[0].amount += 1);
    detects("exposures-reconcile", |recorded| recorded.exposures.clear());
    detects("exposures-reconcile", |recorded| {
        let other = Exposure { currency: "USD".to_owned(), ..recorded.exposures[0].clone() };
        recorded.exposures.push(other);
    });
}

#[test]
fn a_duplicate_missing_or_baseless_notification_is_found_out() {
    detects("notified-once", |recorded| recorded.notifications.push(recorded.notifications[0].clone()));
    detects("notified-once", |recorded| drop(recorded.notifications.pop()));
    detects("notified-once", |recorded| {
        let baseless = Notification { event_id: "n1".to_owned(), ..recorded.notifications[0].clone() };
        recorded.notifications.push(baseless);
    });
    detects("notified-once", |recorded| recorded.notifications[0].customer_id = "CUSTOMER_02".to_owned());
}

/// Adds a charge of another client under the key of an order.
fn take_key(recorded: &mut Recorded, order_id: &str) {
    recorded
        .ledger
        .push(json!({"kind": "captured", "key": format!("{order_id}:shop:digest"), "orderId": "OTHER_1",
        "amount": 1, "currency": "EUR", "token": OTHER_CLIENT, "reference": "cap_9"}));
}

#[test]
fn a_key_of_another_charge_that_pays_for_an_order_or_raises_no_alarm_is_found_out() {
    let mut recorded = sound_record();
    take_key(&mut recorded, CANCELLED);
    recorded.alarms.insert(CANCELLED.to_owned());
    assert_eq!(violated(&recorded), BTreeSet::new());
    detects("alarms-explained", |recorded| take_key(recorded, CANCELLED));
    detects("alarms-explained", |recorded| assert!(recorded.alarms.insert(CANCELLED.to_owned())));
    detects("alarms-explained", |recorded| {
        take_key(recorded, CONFIRMED);
        recorded.alarms.insert(CONFIRMED.to_owned());
    });
}

#[test]
fn a_reservation_that_differs_from_its_order_is_found_out() {
    detects("reservations-match", |recorded| drop(recorded.reservations.remove(CONFIRMED)));
    detects("reservations-match", |recorded| {
        recorded.reservations.get_mut(CONFIRMED).unwrap().lines.insert(PRODUCT.to_owned(), 3);
    });
    detects("reservations-match", |recorded| {
        recorded.reservations.get_mut(CANCELLED).unwrap().status = "reserved".to_owned();
    });
}

#[test]
fn a_refusal_without_a_retry_time_is_found_out() {
    for retry_after in [None, Some(0)] {
        detects("refusals-retryable", |recorded| {
            let (status, answer) = (503, Value::Null);
            recorded.exchanges.push(Exchange { status, answer, retry_after, ..recorded.exchanges[0].clone() });
        });
    }
}

#[test]
fn a_message_deleted_before_it_was_copied_is_found_out() {
    detects("all-copied", |recorded| recorded.missed.extend([("EVENTS".to_owned(), 1)]));
}

#[test]
fn two_responses_to_one_request_are_found_out() {
    detects("responses-repeat", |recorded| recorded.exchanges[1].answer = json!({}));
    detects("responses-repeat", |recorded| recorded.exchanges[4].status = 422);
}

#[test]
fn an_undocumented_response_is_found_out() {
    detects("responses-documented", |recorded| recorded.exchanges[1].status = 500);
    detects("responses-documented", |recorded| recorded.exchanges[1].status = 404);
}

#[test]
fn a_lost_change_of_an_account_is_found_out() {
    detects("accounts-kept", |recorded| {
        let mut other = recorded.exchanges[0].answer.clone();
        other["version"] = json!(2);
        add_exchange(recorded, "PUT", &format!("/accounts/{CUSTOMER}"), None, json!({}), 200, other);
    });
    detects("accounts-kept", |recorded| recorded.exchanges[0].answer["name"] = json!("Eve"));
    detects("accounts-kept", |recorded| recorded.accounts.get_mut(CUSTOMER).unwrap()["name"] = json!("Eve"));
    detects("accounts-kept", |recorded| recorded.accounts.clear());
}

#[test]
fn an_acknowledged_request_that_is_not_stored_is_found_out() {
    for id in ["a1", "r1", "w1", "x6"] {
        detects("commands-stored", |recorded| forget(recorded, id));
    }
}

#[test]
fn a_command_without_effect_is_found_out() {
    detects("commands-effective", |recorded| forget(recorded, "r2"));
    detects("commands-effective", |recorded| forget(recorded, "a2"));
    detects("commands-effective", |recorded| forget(recorded, "w2"));
    detects("commands-effective", |recorded| {
        log(recorded, &format!("order.command.cancel.{CONFIRMED}"), "c7", "", 0, json!({"orderId": CONFIRMED}));
    });
}

#[test]
fn an_event_without_its_cause_or_of_another_flow_is_found_out() {
    detects("causes-exist", |recorded| forget(recorded, "c1"));
    detects("causes-exist", |recorded| header(recorded, "c4", "ce-causationid", "unknown"));
    detects("causes-exist", |recorded| header(recorded, "c4", "ce-correlationid", "unknown"));
    detects("causes-exist", |recorded| header(recorded, "c4", "ce-correlationid", "r1"));
}

#[test]
fn a_gap_or_a_fork_in_versions_is_found_out() {
    detects("versions-contiguous", |recorded| header(recorded, "c6", "ce-aggregateversion", "4"));
    detects("versions-contiguous", |recorded| header(recorded, "c6", "ce-aggregateversion", "2"));
    detects("versions-contiguous", |recorded| header(recorded, "x8", "ce-aggregateversion", "1"));
    detects("versions-contiguous", |recorded| header(recorded, "r2", "ce-aggregateversion", "2"));
}

#[test]
fn one_id_with_two_contents_is_found_out() {
    detects("duplicates-equal", |recorded| {
        let mut other = message(recorded, "c3").clone();
        other.body["lines"][0]["quantity"] = json!(3);
        recorded.messages.push(other);
    });
}

#[test]
fn an_event_in_only_one_of_history_and_stream_is_found_out() {
    detects("histories-published", |recorded| drop(recorded.history.pop()));
    detects("histories-published", |recorded| forget(recorded, "w4"));
}

#[test]
fn a_projection_that_skips_or_repeats_an_event_is_found_out() {
    type Doctor = fn(&mut BTreeMap<String, Value>);
    let doctors: [(&str, Doctor); 6] = [
        ("orders", |rows| rows.retain(|order, _| order != CONFIRMED)),
        ("orders", |rows| rows.values_mut().for_each(|row| row["status"] = json!("reserved"))),
        ("products", BTreeMap::clear),
        ("sales", |rows| rows.values_mut().for_each(|row| row["confirmed_units"] = json!(4))),
        ("open", |rows| drop(rows.insert(CONFIRMED.to_owned(), json!({})))),
        ("customers", |rows| rows.values_mut().for_each(|row| row["open"] = json!(0))),
    ];
    for (table, doctor) in doctors {
        detects("projections-match", |recorded| doctor(recorded.read_models.get_mut(table).unwrap()));
    }
    detects("projections-match", |recorded| drop(recorded.read_models.remove("spent")));
}

#[test]
fn a_leftover_message_is_found_out() {
    detects("nothing-left", |recorded| recorded.outbox_pending.values_mut().for_each(|left| *left = 1));
    detects("nothing-left", |recorded| recorded.unsettled.values_mut().for_each(|left| *left = 1));
    detects("nothing-left", |recorded| recorded.dead_letters.push(recorded.messages[0].clone()));
}

#[test]
fn a_component_that_does_not_recover_is_found_out() {
    detects("all-recover", |recorded| recorded.unready.push("order-service: it does not respond".to_owned()));
}

#[test]
fn a_crashed_process_is_found_out() {
    let ended =
        |in_order| Ended { component: "order-service".to_owned(), at: 1, how: "somehow".to_owned(), in_order };
    detects("no-crashes", |recorded| recorded.ended.push(ended(false)));
    let mut recorded = sound_record();
    recorded.ended.push(ended(true));
    assert_eq!(violated(&recorded), BTreeSet::new());
}

#[test]
fn a_check_of_the_shop_that_does_not_pass_is_found_out() {
    detects("invariants-agree", |recorded| recorded.invariants["checks"][0]["status"] = json!("fail"));
    detects("invariants-agree", |recorded| recorded.invariants["checks"][0]["status"] = json!("unknown"));
    detects("invariants-agree", |recorded| recorded.invariants = Value::Null);
}

#[test]
fn a_process_that_spins_is_found_out() {
    detects("idle-at-rest", |recorded| recorded.idle_cpu = BTreeMap::from([("order-service".to_owned(), 98.0)]));
}

#[test]
fn a_flooded_log_is_found_out() {
    detects("logs-bounded", |recorded| recorded.log_lines = BTreeMap::from([("order-service".to_owned(), 40_000)]));
}

#[test]
fn a_password_in_the_output_is_found_out() {
    detects("secrets-kept", |recorded| recorded.leaks.push("order-service: order-service-dev".to_owned()));
}

#[test]
fn a_process_that_does_not_end_on_sigterm_is_found_out() {
    for exit in ["exit status: 1", "killed: it did not end in time"] {
        detects("shutdown-clean", |recorded| {
            drop(recorded.exits.insert("order-service".to_owned(), exit.to_owned()))
        });
    }
}
