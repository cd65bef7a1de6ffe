//! What customers are told, and whether it is true.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Found;
use crate::history::Exchange;
use crate::recorded::{Recorded, Stored};

/// The events of which customers are told.
const NOTIFIED: [&str; 4] = ["order.awaiting-stock", "order.confirmed", "order.cancelled", "payment.refunded"];

pub(super) fn are_notified_once(recorded: &Recorded) -> Found {
    let mut notified = BTreeMap::<&str, Vec<&str>>::new();
    for notification in &recorded.notifications {
        notified.entry(&notification.event_id).or_default().push(&notification.customer_id);
    }
    let mut found = Found::default();
    let mut known = BTreeSet::new();
    for event in recorded.distinct("EVENTS").into_iter().filter(|event| NOTIFIED.contains(&event.kind())) {
        known.insert(event.id());
        let customers = notified.get(event.id()).map_or(&[][..], Vec::as_slice);
        let right = matches!(customers, [only] if event.body["customerId"] == *only);
        found.expect(event.key(), right, || {
            format!("{:?} were told of {} ({})", customers, event.kind(), event.id())
        });
    }
    for (event_id, customers) in notified {
        found.expect(event_id, known.contains(event_id), || {
            format!("{customers:?} were told of an event that there is not")
        });
    }
    found
}

/// Returns whether the answer depends on how far the shop has come, rather than on the request alone.
fn is_provisional(exchange: &Exchange) -> bool {
    exchange.status == 202 && (exchange.prefer.is_some() || exchange.path.starts_with("/accounts"))
}

/// Returns the answer without what speaks of the servers as they are at this moment.
fn lasting(exchange: &Exchange) -> Value {
    let mut answer = exchange.answer.clone();
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("durability");
    }
    answer
}

pub(super) fn answers_repeat(recorded: &Recorded) -> Found {
    let mut answers = BTreeMap::<(&str, &str, &str, String), Vec<&Exchange>>::new();
    for exchange in &recorded.exchanges {
        let places = exchange.method == "POST" && exchange.path == "/orders";
        let is_the_same_again = exchange.key.is_some() || (places && exchange.body["orderId"].is_string());
        if exchange.is_definite() && is_the_same_again && !is_provisional(exchange) {
            let key = exchange.key.as_deref().unwrap_or_default();
            let same = (exchange.method.as_str(), exchange.path.as_str(), key, exchange.body.to_string());
            answers.entry(same).or_default().push(exchange);
        }
    }
    let mut found = Found::default();
    for ((method, path, ..), exchanges) in answers.into_iter().filter(|(_, exchanges)| exchanges.len() > 1) {
        // With and without `Prefer` the same request has two answers, each the same every time.
        let of = |held: bool| exchanges.iter().filter(move |exchange| exchange.prefer.is_some() == held);
        for held in [false, true] {
            let mut all = of(held);
            let Some(first) = all.next() else { continue };
            let other = all.find(|other| (other.status, lasting(other)) != (first.status, lasting(first)));
            let wrong = other.map(|other| {
                format!(
                    "{method} {path} was answered {} {} and then {} {}",
                    first.status, first.answer, other.status, other.answer
                )
            });
            found.look(first.body["orderId"].as_str().unwrap_or(path), wrong);
        }
    }
    found
}

pub(super) fn answers_are_documented(recorded: &Recorded) -> Found {
    let mut found = Found::default();
    for exchange in recorded.exchanges.iter().filter(|exchange| exchange.status != 0) {
        let (method, path) = (exchange.method.as_str(), exchange.path.as_str());
        let allowed: &[u16] = match (method, path.split('/').nth(1)) {
            ("POST", Some("orders")) if path.ends_with("/cancel") => &[200, 202, 409, 503],
            ("POST", Some("orders")) => &[200, 202, 422, 503],
            ("POST", Some("products")) => &[202, 503],
            ("POST", Some("accounts")) => &[201, 202, 409, 503],
            ("GET", Some("accounts")) => &[200, 404, 503],
            ("PUT", Some("accounts")) => &[200, 202, 404, 412, 503],
            ("DELETE", Some("accounts")) => &[202, 204, 404, 412, 503],
            _ => &[],
        };
        found.expect(path, allowed.contains(&exchange.status), || {
            format!("{method} was answered {} {}", exchange.status, exchange.answer)
        });
    }
    found
}

pub(super) fn refusals_say_when(recorded: &Recorded) -> Found {
    let mut found = Found { examined: 1, ..Found::default() };
    for exchange in recorded.exchanges.iter().filter(|exchange| exchange.status == 503) {
        found.expect(&exchange.path, exchange.retry_after.is_some_and(|seconds| seconds > 0), || {
            format!("{} was answered 503 with Retry-After {:?}", exchange.method, exchange.retry_after)
        });
    }
    found
}

pub(super) fn accounts_are_kept(recorded: &Recorded) -> Found {
    let mut events = BTreeMap::<&str, BTreeMap<i64, &Stored>>::new();
    for event in recorded.distinct("EVENTS") {
        if let ("account.changed" | "account.deleted", Some(version)) = (event.kind(), event.version()) {
            events.entry(event.key()).or_default().insert(version, event);
        }
    }
    let mut found = Found::default();
    for exchange in recorded.exchanges.iter().filter(|exchange| [200, 201].contains(&exchange.status)) {
        let account = &exchange.answer;
        let (Some(customer_id), Some(version)) = (account["customerId"].as_str(), account["version"].as_i64())
        else {
            continue;
        };
        if !exchange.path.starts_with("/accounts") {
            continue;
        }
        let event = events.get(customer_id).and_then(|events| events.get(&version));
        found.expect(customer_id, event.is_some_and(|event| description(event, account)), || {
            format!("a customer saw version {version} of the account, and no event says the same")
        });
    }
    let last = events.iter().filter_map(|(id, events)| Some((*id, *events.last_key_value()?.1)));
    for (customer_id, last) in last {
        let right = match recorded.accounts.get(customer_id) {
            Some(account) => account["version"].as_i64() == last.version() && description(last, account),
            None => last.kind() == "account.deleted",
        };
        found.expect(customer_id, right, || "the account is not what its last event says".to_owned());
    }
    found
}

/// Returns whether an event says the same as an account that a customer saw.
fn description(event: &Stored, account: &Value) -> bool {
    let details = event.body["details"].as_object().into_iter().flatten();
    let mut compared = details.filter(|(_, value)| !value.is_null()).peekable();
    compared.peek().is_some() && compared.all(|(name, value)| account[name] == *value)
}
