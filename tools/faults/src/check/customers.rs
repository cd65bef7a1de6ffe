//! The responses to customers and the notifications, compared with the events.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Found;
use crate::history::Exchange;
use crate::recorded::{Recorded, Stored};

/// The events of which customers are notified.
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
            format!("{:?} were notified of {} ({})", customers, event.kind(), event.id())
        });
    }
    for (event_id, customers) in notified {
        found.expect(event_id, known.contains(event_id), || {
            format!("{customers:?} were notified of an event that does not exist")
        });
    }
    found
}

/// Returns whether the response depends on the progress of the shop, rather than on the request alone.
fn is_provisional(exchange: &Exchange) -> bool {
    exchange.status == 202 && (exchange.prefer.is_some() || exchange.path.starts_with("/accounts"))
}

/// Returns the response without the fields about the current state of the servers.
fn lasting(exchange: &Exchange) -> Value {
    let mut answer = exchange.answer.clone();
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("durability");
    }
    answer
}

pub(super) fn responses_repeat(recorded: &Recorded) -> Found {
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
        // The same request has one response with `Prefer` and one without it; each must repeat.
        let of = |held: bool| exchanges.iter().filter(move |exchange| exchange.prefer.is_some() == held);
        for held in [false, true] {
            let mut all = of(held);
            let Some(first) = all.next() else { continue };
            let other = all.find(|other| (other.status, lasting(other)) != (first.status, lasting(first)));
            let wrong = other.map(|other| {
                format!(
                    "{method} {path} had the response {} {} and then {} {}",
                    first.status, first.answer, other.status, other.answer
                )
            });
            found.examine(first.body["orderId"].as_str().unwrap_or(path), wrong);
        }
    }
    found
}

pub(super) fn responses_are_documented(recorded: &Recorded) -> Found {
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
            format!("{method} had the response {} {}", exchange.status, exchange.answer)
        });
    }
    found
}

pub(super) fn refusals_are_retryable(recorded: &Recorded) -> Found {
    let mut found = Found { examined: 1, ..Found::default() };
    for exchange in recorded.exchanges.iter().filter(|exchange| exchange.status == 503) {
        found.expect(&exchange.path, exchange.retry_after.is_some_and(|seconds| seconds > 0), || {
            format!("{} had the response 503 with Retry-After {:?}", exchange.method, exchange.retry_after)
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
        found.expect(customer_id, event.is_some_and(|event| matches_account(event, account)), || {
            format!("a customer saw version {version} of the account, but no event matches it")
        });
    }
    let last = events.iter().filter_map(|(id, events)| Some((*id, *events.last_key_value()?.1)));
    for (customer_id, last) in last {
        let right = match recorded.accounts.get(customer_id) {
            Some(account) => account["version"].as_i64() == last.version() && matches_account(last, account),
            None => last.kind() == "account.deleted",
        };
        found.expect(customer_id, right, || "the account does not match its last event".to_owned());
    }
    found
}

/// Returns whether an event matches an account that a customer saw.
fn matches_account(event: &Stored, account: &Value) -> bool {
    let details = event.body["details"].as_object().into_iter().flatten();
    let mut compared = details.filter(|(_, value)| !value.is_null()).peekable();
    compared.peek().is_some() && compared.all(|(name, value)| account[name] == *value)
}
