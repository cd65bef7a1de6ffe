//! Units neither appear nor vanish.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::recorded::{Recorded, Stored};

/// Sums up units by product.
fn add<'a>(sums: &mut BTreeMap<&'a str, u64>, product_id: &'a str, quantity: Option<u64>) {
    *sums.entry(product_id).or_default() += quantity.unwrap_or_default();
}

/// Returns the received units by product, according to the events.
fn received(recorded: &Recorded) -> BTreeMap<&str, u64> {
    let mut sums = BTreeMap::new();
    for event in recorded.distinct("EVENTS").into_iter().filter(|event| event.kind() == "inventory.restocked") {
        add(&mut sums, event.key(), event.body["quantity"].as_u64());
    }
    sums
}

/// Returns the units of orders in these states, by product, according to the orders.
fn ordered<'a>(recorded: &'a Recorded, states: &[&str]) -> BTreeMap<&'a str, u64> {
    let mut sums = BTreeMap::new();
    let orders = recorded.orders.values().filter(|order| states.contains(&order["status"].as_str().unwrap_or("")));
    for item in orders.flat_map(|order| order["items"].as_array().into_iter().flatten()) {
        add(&mut sums, item["productId"].as_str().unwrap_or_default(), item["quantity"].as_u64());
    }
    sums
}

pub(super) fn is_conserved(recorded: &Recorded) -> Found {
    let received = received(recorded);
    let held = ordered(recorded, &["reserved", "confirmed"]);
    let waited_for = ordered(recorded, &["awaiting-stock"]);
    let mut kept = BTreeMap::new();
    let mut waiting = BTreeMap::new();
    for reservation in recorded.reservations.values() {
        let sums = match reservation.status.as_str() {
            "reserved" => &mut kept,
            "waiting" => &mut waiting,
            _ => continue,
        };
        for (product_id, quantity) in &reservation.lines {
            add(sums, product_id, Some(*quantity));
        }
    }
    let of = |sums: &BTreeMap<&str, u64>, product_id: &str| sums.get(product_id).copied().unwrap_or_default();
    let mut found = Found::default();
    let ids: BTreeSet<&str> =
        recorded.products.keys().map(String::as_str).chain(received.keys().copied()).collect();
    for id in ids {
        let stock = recorded.products.get(id).cloned().unwrap_or_default();
        let equal = [
            ("received, and available plus reserved", of(&received, id), stock.available + stock.reserved),
            ("reserved, and in reservations", stock.reserved, of(&kept, id)),
            ("reserved, and in orders that are reserved or confirmed", stock.reserved, of(&held, id)),
            ("backordered, and in reservations that wait", stock.backordered, of(&waiting, id)),
            ("backordered, and in orders that wait", stock.backordered, of(&waited_for, id)),
        ];
        for (what, one, other) in equal {
            found.expect(id, one == other, || format!("{what}: {one} against {other} units"));
        }
    }
    found
}

pub(super) fn reservations_match(recorded: &Recorded) -> Found {
    let mut found = Found::default();
    for (order_id, order) in &recorded.orders {
        let reservation = recorded.reservations.get(order_id).filter(|found| found.status == "reserved");
        let wrong = match order["status"].as_str().unwrap_or_default() {
            "confirmed" => {
                let mut units = BTreeMap::new();
                for item in order["items"].as_array().into_iter().flatten() {
                    add(&mut units, item["productId"].as_str().unwrap_or_default(), item["quantity"].as_u64());
                }
                let held = reservation.map(|reservation| &reservation.lines);
                let same = held.is_some_and(|held| held.iter().map(|(id, n)| (id.as_str(), *n)).eq(units.clone()));
                (!same).then(|| format!("it is confirmed with {units:?}, but its reservation has {held:?}"))
            }
            "cancelled" => reservation.map(|_| "it is cancelled, but its reservation is not released".to_owned()),
            _ => None,
        };
        found.examine(order_id, wrong);
    }
    found
}

pub(super) fn restocks_count_once(recorded: &Recorded) -> Found {
    let mut found = Found::default();
    let mut restocks = BTreeMap::<&str, Vec<&Stored>>::new();
    for event in recorded.distinct("EVENTS").into_iter().filter(|event| event.kind() == "inventory.restocked") {
        restocks.entry(event.cause()).or_default().push(event);
    }
    for command in recorded.distinct("COMMANDS").into_iter().filter(|command| command.kind() == "inventory.restock")
    {
        let events = restocks.get(command.id()).map_or(&[][..], Vec::as_slice);
        let once = matches!(events, [event] if event.body["quantity"] == command.body["quantity"]);
        found
            .expect(command.key(), once, || format!("the restock {} counted {} times", command.id(), events.len()));
    }
    // From the customers' view: a key identifies one restock; each request without a key is one.
    let (mut min, mut max) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
    let mut keys = BTreeMap::<(&str, &str), (bool, u64)>::new();
    for exchange in recorded.exchanges.iter().filter(|exchange| exchange.method == "POST") {
        let Some(product_id) =
            exchange.path.strip_prefix("/products/").and_then(|rest| rest.strip_suffix("/restock"))
        else {
            continue;
        };
        let quantity = exchange.body["quantity"].as_u64().unwrap_or_default();
        match &exchange.key {
            Some(key) => {
                let known = keys.entry((product_id, key)).or_insert((false, quantity));
                known.0 |= exchange.is_acknowledged();
            }
            None => {
                add(&mut max, product_id, Some(quantity));
                add(&mut min, product_id, exchange.is_acknowledged().then_some(quantity));
            }
        }
    }
    for ((product_id, _), (acknowledged, quantity)) in keys {
        add(&mut max, product_id, Some(quantity));
        add(&mut min, product_id, acknowledged.then_some(quantity));
    }
    let received = received(recorded);
    for (product_id, max) in max {
        let received = received.get(product_id).copied().unwrap_or_default();
        let min = min.get(product_id).copied().unwrap_or_default();
        found.expect(product_id, (min..=max).contains(&received), || {
            format!("{received} units were received; by the responses, at least {min} and at most {max}")
        });
    }
    found
}

pub(super) fn reservations_happen_once(recorded: &Recorded) -> Found {
    let mut found = Found::default();
    for (key, events) in recorded.by_key("EVENTS") {
        let all = |kind: &str| events.iter().filter(|event| event.kind() == kind).collect::<Vec<_>>();
        let (reserved, released) = (all("inventory.reserved"), all("inventory.released"));
        if reserved.is_empty() && released.is_empty() {
            continue;
        }
        let right = match (reserved.as_slice(), released.as_slice()) {
            ([_], []) => true,
            ([reserved], [released]) => reserved.body["lines"] == released.body["lines"],
            _ => false,
        };
        found.expect(key, right, || format!("{} reservations and {} releases", reserved.len(), released.len()));
        if let [reserved] = reserved.as_slice() {
            found.examine(key, wrong_lines(recorded, key, reserved));
        }
    }
    found
}

/// Compares the reserved units with the ordered ones.
fn wrong_lines(recorded: &Recorded, order_id: &str, reserved: &Stored) -> Option<String> {
    let mut ordered = BTreeMap::new();
    let order = recorded.orders.get(order_id)?;
    for item in order["items"].as_array().into_iter().flatten() {
        add(&mut ordered, item["productId"].as_str().unwrap_or_default(), item["quantity"].as_u64());
    }
    let mut held = BTreeMap::new();
    for line in reserved.body["lines"].as_array().into_iter().flatten() {
        add(&mut held, line["productId"].as_str().unwrap_or_default(), line["quantity"].as_u64());
    }
    (ordered != held).then(|| format!("{ordered:?} was ordered, but {held:?} reserved"))
}
