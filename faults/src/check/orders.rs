//! Every order ends, and its messages say why.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Found;
use crate::history::Exchange;
use crate::recorded::{Recorded, Stored};

/// Returns whether the exchange asks for an order.
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
            found.look(order_id, Some("it was acknowledged, and does not exist".to_owned()));
            continue;
        };
        let wrong = match order["status"].as_str().unwrap_or_default() {
            "confirmed" | "cancelled" => None,
            "awaiting-stock" if is_short(recorded, order) => None,
            "awaiting-stock" => Some("it waits for stock, and none of its products is short".to_owned()),
            status => Some(format!("it is still {status}")),
        };
        found.look(order_id, wrong);
    }
    found
}

/// Returns whether a product of the order has fewer units on the shelf than are waited for.
fn is_short(recorded: &Recorded, order: &Value) -> bool {
    let items = order["items"].as_array().into_iter().flatten();
    items
        .filter_map(|item| recorded.products.get(item["productId"].as_str()?))
        .any(|product| product.available < product.backordered)
}

pub(super) fn as_asked(recorded: &Recorded) -> Found {
    let mut asked = BTreeMap::<&str, Vec<&Value>>::new();
    // Where the id was given by the gateway and no answer told which: by content alone.
    let mut nameless = Vec::new();
    for exchange in recorded.exchanges.iter().filter(|exchange| places(exchange)) {
        match exchange.body["orderId"].as_str().or(exchange.answer["orderId"].as_str()) {
            Some(order_id) => asked.entry(order_id).or_default().push(&exchange.body),
            None => nameless.push(&exchange.body),
        }
    }
    let mut found = Found::default();
    for (order_id, order) in &recorded.orders {
        let same = |body: &&Value| ["customerId", "currency", "items"].iter().all(|name| body[name] == order[name]);
        let is_asked = asked.get(order_id.as_str()).into_iter().flatten().any(&same);
        found.expect(order_id, is_asked || nameless.iter().any(same), || {
            "no request asked for an order with that content".to_owned()
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
        found.look(order_id, wrong);
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

    /// Returns the one event of a kind, or what is wrong with their number.
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
                return Err("its confirmation does not answer its payment".to_owned());
            }
            let sums = [&placed.body["totalPrice"], &captured.body["amount"], &confirmed.body["totalPrice"]];
            if sums.iter().any(|sum| **sum != self.order["totalPrice"]) {
                return Err(format!("its messages speak of the sums {sums:?}"));
            }
            Ok(())
        };
        explained().err().map(|why| format!("it is confirmed, and {why}"))
    }

    fn unexplained_cancellation(&self) -> Option<String> {
        let explained = || -> Result<(), String> {
            self.one("order.placed")?;
            let cancelled = self.one("order.cancelled")?;
            self.none("order.confirmed")?;
            if cancelled.body["reason"] != self.order["reason"] {
                return Err("its reason is not that of its event".to_owned());
            }
            self.reason(cancelled)?;
            self.undone("inventory.reserved", "inventory.released", "lines")?;
            // Money that the provider turns out to have taken when it is told to take none is given back without
            // having been spoken of.
            if self.all("payment.captured").is_empty() && !self.all("payment.refunded").is_empty() {
                return self.one("payment.refunded").map(drop);
            }
            self.undone("payment.captured", "payment.refunded", "amount")
        };
        explained().err().map(|why| format!("it is cancelled, and {why}"))
    }

    /// Looks whether the reason of a cancellation is true.
    fn reason(&self, cancelled: &Stored) -> Result<(), String> {
        let reason = &cancelled.body["reason"];
        let cause = self.by_id.get(cancelled.cause());
        let answers = |kind: &str| cause.is_some_and(|cause| cause.kind() == kind);
        let is_true = match reason["code"].as_str().unwrap_or_default() {
            "customer" => self.commands.iter().any(|command| command.kind() == "order.cancel"),
            "unknown-product" => {
                answers("inventory.refused")
                    && cause.is_some_and(|cause| cause.body["unknownProducts"] == reason["productIds"])
            }
            "stock-deadline" => cause.is_some_and(|cause| cause.stream == "TIMERS"),
            "payment-declined" => {
                answers("payment.declined") && cause.is_some_and(|cause| cause.body["reason"] == reason["reason"])
            }
            _ => false,
        };
        if is_true { Ok(()) } else { Err(format!("nothing bears out its reason, {reason}")) }
    }

    /// Looks whether what was done was undone once, and nothing else was.
    fn undone(&self, done: &str, undone: &str, what: &str) -> Result<(), String> {
        if self.all(done).is_empty() {
            return self.none(undone);
        }
        let (done, undone) = (self.one(done)?, self.one(undone)?);
        if done.body[what] != undone.body[what] {
            return Err(format!("{} and {} speak of different {what}", done.kind(), undone.kind()));
        }
        Ok(())
    }
}

pub(super) fn cancels_are_heeded(recorded: &Recorded) -> Found {
    let events = recorded.by_key("EVENTS");
    let accepted: BTreeSet<&str> =
        recorded.exchanges.iter().filter(|exchange| exchange.is_acknowledged()).filter_map(cancels).collect();
    let mut found = Found::default();
    for order_id in accepted {
        let has = |kind: &str| of(&events, order_id).iter().any(|event| event.kind() == kind);
        let status = recorded.orders.get(order_id).and_then(|order| order["status"].as_str());
        let heeded = match status {
            Some("cancelled") => true,
            Some("confirmed") => has("order.cancel-refused"),
            Some(_) => false,
            // The cancel came first, and the order never did.
            None => has("order.cancel-deferred"),
        };
        found.expect(order_id, heeded, || {
            format!("a cancel was acknowledged, and it is {}", status.unwrap_or("unknown without a word"))
        });
    }
    found
}
