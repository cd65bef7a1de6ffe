//! Payments are captured once, for confirmed orders, within limits; all others are refunded.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Found;
use crate::recorded::{OTHER_CLIENT, Recorded};

/// Returns the entries of the ledger without those of another client.
fn own(recorded: &Recorded) -> impl Iterator<Item = &Value> {
    let other: BTreeSet<&str> = other(recorded).filter_map(|entry| entry["reference"].as_str()).collect();
    recorded.ledger.iter().filter(move |entry| !entry["reference"].as_str().is_some_and(|of| other.contains(of)))
}

/// Returns the captures of another client, each under the key of a payment.
fn other(recorded: &Recorded) -> impl Iterator<Item = &Value> {
    recorded.ledger.iter().filter(|entry| entry["kind"] == "captured" && entry["token"] == OTHER_CLIENT)
}

/// A key of another client's charge pays for no order: the order is cancelled, and an alarm is raised. Nothing else
/// raises an alarm.
pub(super) fn alarms_are_explained(recorded: &Recorded) -> Found {
    let mut found = Found { examined: 1, ..Found::default() };
    let mut explained = BTreeSet::new();
    for entry in other(recorded) {
        let order_id = entry["key"].as_str().and_then(|key| key.split(':').next()).unwrap_or_default();
        explained.insert(order_id);
        let status = recorded.orders.get(order_id).and_then(|order| order["status"].as_str());
        found.expect(order_id, status == Some("cancelled"), || {
            format!("its key is that of another client's charge, but it is {status:?}")
        });
        found.expect(order_id, recorded.alarms.contains(order_id), || {
            "its key is that of another client's charge, but there was no alarm".to_owned()
        });
    }
    for order_id in &recorded.alarms {
        found.expect(order_id, explained.contains(order_id.as_str()), || {
            "there was an alarm, but its key is its own".to_owned()
        });
    }
    found
}

/// The charges and refunds of one order.
#[derive(Debug, Default)]
struct Taken<'a> {
    captures: Vec<&'a Value>,
    refunds: Vec<&'a Value>,
}

/// Returns the charges and refunds, by order.
fn by_order(recorded: &Recorded) -> BTreeMap<&str, Taken<'_>> {
    let mut by_order = BTreeMap::<&str, Taken<'_>>::new();
    let mut orders = BTreeMap::new();
    for entry in own(recorded) {
        let reference = entry["reference"].as_str().unwrap_or_default();
        match entry["kind"].as_str().unwrap_or_default() {
            "captured" => {
                let order_id = entry["orderId"].as_str().unwrap_or_default();
                orders.insert(reference, order_id);
                by_order.entry(order_id).or_default().captures.push(entry);
            }
            "refunded" => {
                let order_id = orders.get(reference).copied().unwrap_or("an unknown reference");
                by_order.entry(order_id).or_default().refunds.push(entry);
            }
            _ => {}
        }
    }
    by_order
}

pub(super) fn is_conserved(recorded: &Recorded) -> Found {
    let by_order = by_order(recorded);
    let mut found = Found::default();
    for (order_id, taken) in &by_order {
        found.expect(order_id, recorded.orders.contains_key(*order_id), || "there is no such order".to_owned());
        let count = (taken.captures.len(), taken.refunds.len());
        found.expect(order_id, matches!(count, (1, 0 | 1)), || {
            format!("the provider captured {} times and refunded {} times", count.0, count.1)
        });
    }
    for (order_id, order) in &recorded.orders {
        let taken = by_order.get(order_id.as_str());
        let held = taken.map_or(0, |taken| taken.captures.len().saturating_sub(taken.refunds.len()));
        let wrong = match (order["status"].as_str().unwrap_or_default(), held) {
            ("confirmed", 1) => taken.and_then(|taken| taken.captures.first()).and_then(|capture| {
                let equal = capture["amount"] == order["totalPrice"] && capture["currency"] == order["currency"];
                (!equal).then(|| {
                    format!("its total is {}, but {} was captured", order["totalPrice"], capture["amount"])
                })
            }),
            ("confirmed", _) => Some("it is confirmed, but not exactly one capture is unrefunded".to_owned()),
            ("cancelled", 0) => None,
            ("cancelled", _) => Some("it is cancelled, but a capture is not refunded".to_owned()),
            _ => None,
        };
        found.examine(order_id, wrong);
    }
    found
}

pub(super) fn events_are_true(recorded: &Recorded) -> Found {
    let by_order = by_order(recorded);
    let none = Taken::default();
    let mut found = Found::default();
    for event in recorded.distinct("EVENTS").into_iter().filter(|event| event.context() == "payment") {
        let taken = by_order.get(event.key()).unwrap_or(&none);
        let wrong = match event.kind() {
            "payment.captured" => {
                let same = |entry: &&Value| {
                    ["reference", "amount", "currency"].iter().all(|name| entry[name] == event.body[name])
                };
                (!taken.captures.iter().any(same)).then_some("the provider has no such capture")
            }
            "payment.refunded" => taken.refunds.is_empty().then_some("the provider has no refund"),
            "payment.declined" => (taken.captures.len() > taken.refunds.len())
                .then_some("the provider has a capture without a refund"),
            _ => Some("the event type is unknown"),
        };
        found.examine(event.key(), wrong.map(|wrong| format!("{} was published, but {wrong}", event.kind())));
    }
    let ends = ["captured", "declined", "refunded", "cancelled"];
    for (order_id, order) in &recorded.orders {
        let payment = recorded.payments.get(order_id).map_or("unknown", |payment| payment.status.as_str());
        let is_final = ["confirmed", "cancelled"].contains(&order["status"].as_str().unwrap_or_default());
        found.expect(order_id, !is_final || ends.contains(&payment), || {
            format!("the order is terminal, but its payment is {payment}")
        });
    }
    found
}

pub(super) fn limits_hold(recorded: &Recorded) -> Found {
    let mut highest = BTreeMap::<(&str, &str), i64>::new();
    for event in recorded.distinct("EVENTS").into_iter().filter(|event| event.kind() == "account.changed") {
        let limit = &event.body["details"]["creditLimit"];
        let highest = highest.entry((event.key(), limit["currency"].as_str().unwrap_or_default())).or_default();
        *highest = (*highest).max(limit["amount"].as_i64().unwrap_or_default());
    }
    let mut held = BTreeMap::<(&str, &str), i64>::new();
    let mut references = BTreeMap::new();
    let mut found = Found::default();
    for entry in own(recorded) {
        let reference = entry["reference"].as_str().unwrap_or_default();
        match entry["kind"].as_str().unwrap_or_default() {
            "captured" => {
                let order_id = entry["orderId"].as_str().unwrap_or_default();
                let customer = recorded.orders.get(order_id).and_then(|order| order["customerId"].as_str());
                let of = (customer.unwrap_or("no customer"), entry["currency"].as_str().unwrap_or_default());
                let amount = entry["amount"].as_i64().unwrap_or_default();
                references.insert(reference, (of, amount));
                let held = held.entry(of).or_default();
                *held += amount;
                let limit = highest.get(&of).copied().unwrap_or_default();
                found.expect(of.0, *held <= limit, || {
                    format!(
                        "after {order_id}, {held} {} were captured and unrefunded; the limit was at most {limit}",
                        of.1
                    )
                });
            }
            "refunded" => {
                if let Some((of, amount)) = references.get(reference) {
                    *held.entry(*of).or_default() -= amount;
                }
            }
            _ => {}
        }
    }
    found
}

pub(super) fn exposures_reconcile(recorded: &Recorded) -> Found {
    let mut sums = BTreeMap::<(&str, &str), (i64, i64)>::new();
    for order in recorded.orders.values().filter(|order| order["status"] == "confirmed") {
        let of = (order["customerId"].as_str().unwrap_or_default(), order["currency"].as_str().unwrap_or_default());
        sums.entry(of).or_default().0 += order["totalPrice"].as_i64().unwrap_or_default();
    }
    for exposure in &recorded.exposures {
        sums.entry((&exposure.customer_id, &exposure.currency)).or_default().1 += exposure.amount;
    }
    let mut found = Found::default();
    for ((customer_id, currency), (confirmed, counted)) in sums {
        found.expect(customer_id, confirmed == counted, || {
            format!("confirmed orders total {confirmed} {currency}, but the exposure is {counted}")
        });
    }
    found
}
