//! The projections, compared with a recount from the events.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Found;
use crate::recorded::{Recorded, Stored};

/// The rows of each table, by key.
type Rows = BTreeMap<&'static str, BTreeMap<String, Value>>;

pub(super) fn equal_a_recount(recorded: &Recorded) -> Found {
    let mut expected = Rows::new();
    for (order_id, events) in recorded.by_key("EVENTS") {
        let by_version: BTreeMap<i64, &Stored> = events
            .into_iter()
            .filter(|event| event.context() == "order")
            .filter_map(|event| Some((event.version()?, event)))
            .collect();
        count_order(&mut expected, order_id, &by_version);
    }
    let tables: BTreeSet<&str> =
        expected.keys().copied().chain(recorded.read_models.keys().map(String::as_str)).collect();
    let (mut found, none) = (Found::default(), BTreeMap::new());
    for table in tables {
        let expected = expected.get(table).unwrap_or(&none);
        let present = recorded.read_models.get(table).unwrap_or(&none);
        let keys: BTreeSet<&String> = expected.keys().chain(present.keys()).collect();
        for key in keys {
            let (expected, present) = (expected.get(key), present.get(key));
            found.expect(key, expected == present, || {
                format!("the projection {table} has {present:?}, and the events give {expected:?}")
            });
        }
    }
    found
}

/// Adds the effects of an order's events, by version.
fn count_order(rows: &mut Rows, order_id: &str, events: &BTreeMap<i64, &Stored>) {
    let Some(placed) = events.values().find(|event| event.kind() == "order.placed") else { return };
    let text = |name: &str| placed.body[name].as_str().unwrap_or_default().to_owned();
    let (customer, currency, total) = (text("customerId"), text("currency"), number(&placed.body["totalPrice"]));
    let mut changes = events.iter().filter_map(|(version, event)| Some((*version, *event, status(event.kind())?)));
    let Some((version, last, status)) = changes.next_back() else { return };
    let (is_confirmed, is_cancelled) = (status == "confirmed", status == "cancelled");
    let row = json!({"customer_id": customer, "status": status, "version": version, "total_price": total});
    rows.entry("orders").or_default().insert(order_id.to_owned(), row);
    let is_open = !is_confirmed && !is_cancelled;
    for item in placed.body["items"].as_array().into_iter().flatten() {
        let product = item["productId"].as_str().unwrap_or_default();
        rows.entry("products").or_default().insert(format!("{order_id} {product}"), json!({}));
        if !is_open {
            let day = last.time().get(..10).unwrap_or_default();
            let (units, price) = (number(&item["quantity"]), number(&item["unitPrice"]));
            let counted = if is_confirmed { "confirmed" } else { "cancelled" };
            let names = ["confirmed_units", "confirmed_amount", "cancelled_units", "cancelled_amount"];
            let row = row_of(rows, "sales", format!("{day} {product} {currency}"), &names);
            add(row, &format!("{counted}_units"), units);
            add(row, &format!("{counted}_amount"), units * price);
        }
    }
    if is_open {
        rows.entry("open").or_default().insert(order_id.to_owned(), json!({}));
    }
    let row = row_of(rows, "customers", customer.clone(), &["orders", "open", "confirmed", "cancelled"]);
    add(row, "orders", 1);
    add(row, if is_open { "open" } else { status }, 1);
    if is_confirmed {
        add(row_of(rows, "spent", format!("{customer} {currency}"), &["amount"]), "amount", total);
    }
}

/// Returns the status of an order after an event; `None` if the event does not change it.
fn status(kind: &str) -> Option<&'static str> {
    match kind {
        "order.placed" => Some("placed"),
        "order.awaiting-stock" => Some("awaiting-stock"),
        "order.reserved" => Some("reserved"),
        "order.confirmed" => Some("confirmed"),
        "order.cancelled" => Some("cancelled"),
        _ => None,
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// Returns a row, with zeros if it is new.
fn row_of<'a>(rows: &'a mut Rows, table: &'static str, key: String, columns: &[&str]) -> &'a mut Value {
    let zeros = || columns.iter().map(|column| ((*column).to_owned(), json!(0))).collect();
    rows.entry(table).or_default().entry(key).or_insert_with(zeros)
}

fn add(row: &mut Value, column: &str, more: i64) {
    row[column] = json!(number(&row[column]) + more);
}
