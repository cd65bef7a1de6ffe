//! Every order ends, for the reason that its messages show.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Found;
use crate::history::Exchange;
use crate::recorded::{Recorded, Stored};

/// Returns whether the exchange places an order.
fn places(exchange: &Exchange) -> bool {
    exchange.method == "POST" && exchange.path == "/orders"
}

/// Returns the order that the exchange cancels.
fn cancels(exchange: &Exchange) -> Option<&str> {
    exchange.path.strip_prefix("/orders/")?.strip_suffix("/cancel").filter(|_| exchange.method == "POST")
}

/// Returns the orders that were acknowledged.
fn acknowledged(recorded: &Recorded) -> BTreeSet<&str> {
    recorded
        .exchanges
        .iter()
        .filter(|exchange| places(exchange) && exchange.is_acknowledged())
        .filter_map(|exchange| exchange.answer["orderId"].as_str())
        .collect()
}

pub(super) fn end(recorded: &Recorded) -> Found {
    let mut found = Found::default();
    let known = recorded.orders.keys().map(String::as_str);
    for order_id in acknowledged(recorded).into_iter().chain(known).collect::<BTreeSet<_>>() {
        let Some(order) = recorded.orders.get(order_id) else {
            found.examine(order_id, Some("it was acknowledged, but does not exist".to_owned()));
            continue;
        };
        let wrong = match order["status"].as_str().unwrap_or_default() {
            "confirmed" | "cancelled" => None,
            "awaiting-stock" if is_short(recorded, order) => None,
            "awaiting-stock" => Some("it waits for stock, but none of its products is short".to_owned()),
            status => Some(format!("it is still {status}")),
        };
        found.examine(order_id, wrong);
    }
    found
}

/// Returns whether a product of the order has fewer available than backordered units.
fn is_short(recorded: &Recorded, order: &Value) -> bool {
    let items = order["items"].as_array().into_iter().flatten();
    items
        .filter_map(|item| recorded.products.get(item["productId"].as_str()?))
        .any(|product| product.available < product.backordered)
}

pub(super) fn as_requested(recorded: &Recorded) -> Found {
    let mut asked = BTreeMap::<&str, Vec<&Value>>::new();
    // Requests without a known order id, because the gateway chose it and the response is missing: compared by
    // content.
    let mut without_id = Vec::new();
    for exchange in recorded.exchanges.iter().filter(|exchange| places(exchange)) {
        match exchange.body["orderId"].as_str().or(exchange.answer["orderId"].as_str()) {
            Some(order_id) => asked.entry(order_id).or_default().push(&exchange.body),
            None => without_id.push(&exchange.body),
        }
    }
    let mut found = Found::default();
    for (order_id, order) in &recorded.orders {
        let same = |body: &&Value| ["customerId", "currency", "items"].iter().all(|name| body[name] == order[name]);
        let is_asked = asked.get(order_id.as_str()).into_iter().flatten().any(&same);
        found.expect(order_id, is_asked || without_id.iter().any(same), || {
            "no request has the content of the order".to_owned()
        });
    }
    found
}

pub(super) fn ends_are_explained(recorded: &Recorded) -> Found {
    let events = recorded.by_key("EVENTS");
    let commands = recorded.by_key("COMMANDS");
    let by_id: BTreeMap<&str, &Stored> = recorded.messages.iter().map(|message| (message.id(), message)).collect();
    let mut found = Found::default();
    for (order_id, order) in &recorded.orders {
        let record =
            OrderRecord { order, by_id: &by_id, events: of(&events, order_id), commands: of(&commands, order_id) };
        let wrong = match order["status"].as_str().unwrap_or_default() {
            "confirmed" => record.unexplained_confirmation(),
            "cancelled" => record.unexplained_cancellation(),
            _ => continue,
        };
        found.examine(order_id, wrong);
    }
    found
}

fn of<'a, 'b>(messages: &'a BTreeMap<&str, Vec<&'b Stored>>, key: &str) -> &'a [&'b Stored] {
    messages.get(key).map_or(&[], Vec::as_slice)
}

/// An order and the messages about it.
struct OrderRecord<'a> {
    order: &'a Value,
    by_id: &'a BTreeMap<&'a str, &'a Stored>,
    events: &'a [&'a Stored],
    commands: &'a [&'a Stored],
}

impl<'a> OrderRecord<'a> {
    fn all(&self, kind: &str) -> Vec<&'a Stored> {
        self.events.iter().copied().filter(|event| event.kind() == kind).collect()
    }

    /// Returns the only event of a kind, or an error about their number.
    fn one(&self, kind: &str) -> Result<&'a Stored, String> {
        match self.all(kind).as_slice() {
            [only] => Ok(only),
            [] => Err(format!("there is no {kind}")),
            several => Err(format!("there are {} of {kind}", several.len())),
        }
    }

    fn none(&self, kind: &str) -> Result<(), String> {
        if self.all(kind).is_empty() { Ok(()) } else { Err(format!("there is a {kind}")) }
    }

    fn unexplained_confirmation(&self) -> Option<String> {
        let explained = || -> Result<(), String> {
            let placed = self.one("order.placed")?;
            self.one("inventory.reserved")?;
            self.one("order.reserved")?;
            let captured = self.one("payment.captured")?;
            let confirmed = self.one("order.confirmed")?;
            self.none("order.cancelled")?;
            self.none("inventory.released")?;
            self.none("payment.refunded")?;
            if confirmed.cause() != captured.id() {
                return Err("its confirmation is not caused by its payment".to_owned());
            }
            let sums = [&placed.body["totalPrice"], &captured.body["amount"], &confirmed.body["totalPrice"]];
            if sums.iter().any(|sum| **sum != self.order["totalPrice"]) {
                return Err(format!("its messages contain the sums {sums:?}"));
            }
            Ok(())
        };
        explained().err().map(|why| format!("it is confirmed, but {why}"))
    }

    fn unexplained_cancellation(&self) -> Option<String> {
        let explained = || -> Result<(), String> {
            self.one("order.placed")?;
            let cancelled = self.one("order.cancelled")?;
            self.none("order.confirmed")?;
            if cancelled.body["reason"] != self.order["reason"] {
                return Err("its reason differs from that of its event".to_owned());
            }
            self.reason(cancelled)?;
            self.undone("inventory.reserved", "inventory.released", "lines")?;
            // A capture that the provider reports only when it is asked to void the payment is refunded without a
            // captured event.
            if self.all("payment.captured").is_empty() && !self.all("payment.refunded").is_empty() {
                return self.one("payment.refunded").map(drop);
            }
            self.undone("payment.captured", "payment.refunded", "amount")
        };
        explained().err().map(|why| format!("it is cancelled, but {why}"))
    }

    /// Checks whether the messages support the reason of a cancellation.
    fn reason(&self, cancelled: &Stored) -> Result<(), String> {
        let reason = &cancelled.body["reason"];
        let cause = self.by_id.get(cancelled.cause());
        let caused_by = |kind: &str| cause.is_some_and(|cause| cause.kind() == kind);
        let is_true = match reason["code"].as_str().unwrap_or_default() {
            "customer" => self.commands.iter().any(|command| command.kind() == "order.cancel"),
            "unknown-product" => {
                caused_by("inventory.refused")
                    && cause.is_some_and(|cause| cause.body["unknownProducts"] == reason["productIds"])
            }
            "stock-deadline" => cause.is_some_and(|cause| cause.stream == "TIMERS"),
            "payment-declined" => {
                caused_by("payment.declined") && cause.is_some_and(|cause| cause.body["reason"] == reason["reason"])
            }
            _ => false,
        };
        if is_true { Ok(()) } else { Err(format!("no message supports its reason, {reason}")) }
    }

    /// Checks whether each effect was compensated once, and nothing else was.
    fn undone(&self, done: &str, undone: &str, what: &str) -> Result<(), String> {
        if self.all(done).is_empty() {
            return self.none(undone);
        }
        let (done, undone) = (self.one(done)?, self.one(undone)?);
        if done.body[what] != undone.body[what] {
            return Err(format!("{} and {} have different {what}", done.kind(), undone.kind()));
        }
        Ok(())
    }
}

pub(super) fn cancellations_are_effective(recorded: &Recorded) -> Found {
    let events = recorded.by_key("EVENTS");
    let accepted: BTreeSet<&str> =
        recorded.exchanges.iter().filter(|exchange| exchange.is_acknowledged()).filter_map(cancels).collect();
    let mut found = Found::default();
    for order_id in accepted {
        let has = |kind: &str| of(&events, order_id).iter().any(|event| event.kind() == kind);
        let status = recorded.orders.get(order_id).and_then(|order| order["status"].as_str());
        let effective = match status {
            Some("cancelled") => true,
            Some("confirmed") => has("order.cancel-refused"),
            Some(_) => false,
            // The cancellation arrived first, and the order never did.
            None => has("order.cancel-deferred"),
        };
        found.expect(order_id, effective, || {
            format!(
                "a cancellation was acknowledged, but the order is {}",
                status.unwrap_or("unknown, without an event")
            )
        });
    }
    found
}
