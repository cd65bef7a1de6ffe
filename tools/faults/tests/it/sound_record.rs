//! The record of a small run without violations: one order is confirmed, one is cancelled after its payment, and one
//! waits for stock.

use std::collections::BTreeMap;

use faults::history::Exchange;
use faults::recorded::{Exposure, Kept, Notification, Payment, Recorded, Reservation, Stock, Stored};
use serde_json::{Value, json};

pub(crate) const CUSTOMER: &str = "CUSTOMER_01";
pub(crate) const PRODUCT: &str = "PRODUCT_01";
pub(crate) const CONFIRMED: &str = "ORDER_1";
pub(crate) const CANCELLED: &str = "ORDER_2";
pub(crate) const WAITING: &str = "ORDER_3";

/// Returns the sound record.
pub(crate) fn sound_record() -> Recorded {
    let mut recorded = Recorded::default();
    open_account(&mut recorded);
    restock(&mut recorded);
    confirmed_order(&mut recorded);
    cancelled_order(&mut recorded);
    waiting_order(&mut recorded);
    recorded.products.insert(PRODUCT.to_owned(), Stock { available: 8, reserved: 2, backordered: 20 });
    recorded.exposures.push(Exposure { customer_id: CUSTOMER.to_owned(), currency: "EUR".to_owned(), amount: 200 });
    recorded.read_models = read_models();
    recorded.outbox_pending.insert("order-service".to_owned(), 0);
    recorded.unsettled.insert("order-service of EVENTS".to_owned(), 0);
    recorded.invariants = json!({"checks": [{"name": "stock-conserved", "status": "pass"}]});
    recorded.idle_cpu.insert("order-service".to_owned(), 0.2);
    recorded.log_lines.insert("order-service".to_owned(), 900);
    recorded.seconds = 60;
    recorded.exits.insert("order-service".to_owned(), "exit status: 0".to_owned());
    recorded
}

/// Returns the rows of the projections.
fn read_models() -> BTreeMap<String, BTreeMap<String, Value>> {
    let order = |status: &str, version: i64, total: i64| json!({"customer_id": CUSTOMER, "status": status, "version": version, "total_price": total});
    let sold =
        json!({"confirmed_units": 2, "confirmed_amount": 200, "cancelled_units": 2, "cancelled_amount": 200});
    let product = |order: &str| (format!("{order} {PRODUCT}"), json!({}));
    let tables = [
        (
            "orders",
            vec![
                (CONFIRMED.to_owned(), order("confirmed", 3, 200)),
                (CANCELLED.to_owned(), order("cancelled", 3, 200)),
                (WAITING.to_owned(), order("awaiting-stock", 2, 2000)),
            ],
        ),
        ("products", vec![product(CONFIRMED), product(CANCELLED), product(WAITING)]),
        ("sales", vec![(format!("2030-01-01 {PRODUCT} EUR"), sold)]),
        ("open", vec![(WAITING.to_owned(), json!({}))]),
        ("customers", vec![(CUSTOMER.to_owned(), json!({"orders": 3, "open": 1, "confirmed": 1, "cancelled": 1}))]),
        ("spent", vec![(format!("{CUSTOMER} EUR"), json!({"amount": 200}))]),
    ];
    tables.into_iter().map(|(table, rows)| (table.to_owned(), rows.into_iter().collect())).collect()
}

/// Adds a message; its correlation is that of its cause.
pub(crate) fn log(recorded: &mut Recorded, subject: &str, id: &str, cause: &str, version: i64, body: Value) {
    let mut tokens = subject.split('.');
    let (context, kind) = (tokens.next().unwrap(), tokens.next().unwrap());
    let (name, key) = (tokens.next().unwrap(), tokens.next().unwrap());
    let stream = match kind {
        "command" => "COMMANDS",
        "event" => "EVENTS",
        _ => "TIMERS",
    };
    let correlation =
        recorded.messages.iter().find(|message| message.id() == cause).map_or(id, Stored::correlation);
    let mut headers = BTreeMap::from(
        [
            ("ce-id", id),
            ("ce-type", &format!("{context}.{name}.v1")),
            ("ce-subject", key),
            ("ce-time", "2030-01-01T10:00:00.000Z"),
            ("ce-correlationid", correlation),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    if !cause.is_empty() {
        headers.insert("ce-causationid".to_owned(), cause.to_owned());
    }
    if version > 0 {
        headers.insert("ce-aggregateversion".to_owned(), version.to_string());
        if context == "order" {
            recorded.history.push(Kept {
                order_id: key.to_owned(),
                version,
                message_id: id.to_owned(),
                message_type: format!("{context}.{name}.v1"),
            });
        }
    }
    if ["order.awaiting-stock", "order.confirmed", "order.cancelled", "payment.refunded"]
        .contains(&format!("{context}.{name}").as_str())
        && kind == "event"
    {
        recorded.notifications.push(Notification {
            event_id: id.to_owned(),
            customer_id: CUSTOMER.to_owned(),
            order_id: key.to_owned(),
        });
    }
    let sequence = recorded.messages.len() as u64 + 1;
    recorded.messages.push(Stored {
        stream: stream.to_owned(),
        sequence,
        subject: subject.to_owned(),
        headers,
        body,
    });
}

/// Adds a request and its response.
pub(crate) fn add_exchange(
    recorded: &mut Recorded,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Value,
    status: u16,
    answer: Value,
) {
    recorded.exchanges.push(Exchange {
        method: method.to_owned(),
        path: path.to_owned(),
        key: key.map(str::to_owned),
        body,
        status,
        answer,
        ..Exchange::default()
    });
}

fn open_account(recorded: &mut Recorded) {
    let details = json!({"name": "Ada", "creditLimit": {"amount": 1000, "currency": "EUR"}});
    let account = json!({"customerId": CUSTOMER, "version": 1, "name": "Ada",
        "creditLimit": {"amount": 1000, "currency": "EUR"}});
    let command = json!({"customerId": CUSTOMER, "details": details});
    log(recorded, &format!("account.command.create.{CUSTOMER}"), "a1", "", 0, command);
    let event = json!({"customerId": CUSTOMER, "version": 1, "details": details});
    log(recorded, &format!("account.event.changed.{CUSTOMER}"), "a2", "a1", 1, event);
    add_exchange(recorded, "POST", "/accounts", None, json!({"customerId": CUSTOMER}), 201, account.clone());
    recorded.accounts.insert(CUSTOMER.to_owned(), account);
}

fn restock(recorded: &mut Recorded) {
    let body = json!({"productId": PRODUCT, "quantity": 10});
    log(recorded, &format!("inventory.command.restock.{PRODUCT}"), "r1", "", 0, body.clone());
    log(recorded, &format!("inventory.event.restocked.{PRODUCT}"), "r2", "r1", 1, body);
    let accepted = json!({"productId": PRODUCT, "quantity": 10, "status": "accepted"});
    let path = format!("/products/{PRODUCT}/restock");
    for _ in 0..2 {
        add_exchange(recorded, "POST", &path, Some("k1"), json!({"quantity": 10}), 202, accepted.clone());
    }
}

fn order(order_id: &str, quantity: u64) -> Value {
    json!({"orderId": order_id, "customerId": CUSTOMER, "currency": "EUR",
        "items": [{"productId": PRODUCT, "quantity": quantity, "unitPrice": 100}]})
}

/// Places an order; returns its details as in the messages. Message ids begin with `prefix`.
fn place(recorded: &mut Recorded, order_id: &str, prefix: &str, quantity: u64) -> Value {
    let body = order(order_id, quantity);
    for _ in 0..2 {
        let accepted = json!({"orderId": order_id, "status": "accepted"});
        add_exchange(recorded, "POST", "/orders", None, body.clone(), 202, accepted);
    }
    let mut details = body;
    details["totalPrice"] = json!(quantity * 100);
    log(recorded, &format!("order.command.place.{order_id}"), &format!("{prefix}1"), "", 0, details.clone());
    log(
        recorded,
        &format!("order.event.placed.{order_id}"),
        &format!("{prefix}2"),
        &format!("{prefix}1"),
        1,
        details.clone(),
    );
    details
}

/// Reserves and pays an order.
fn reserve_and_pay(recorded: &mut Recorded, order_id: &str, prefix: &str, reference: &str) {
    let id = |n: u64| format!("{prefix}{n}");
    let lines = json!({"orderId": order_id, "lines": [{"productId": PRODUCT, "quantity": 2}]});
    log(recorded, &format!("inventory.event.reserved.{order_id}"), &id(3), &id(2), 1, lines);
    log(recorded, &format!("order.event.reserved.{order_id}"), &id(4), &id(3), 2, json!({"orderId": order_id}));
    let captured = json!({"orderId": order_id, "amount": 200, "currency": "EUR", "reference": reference});
    log(recorded, &format!("payment.event.captured.{order_id}"), &id(5), &id(3), 3, captured);
    recorded.ledger.push(json!({"kind": "captured", "key": order_id, "orderId": order_id, "amount": 200,
        "currency": "EUR", "token": "tok_visa", "reference": reference}));
}

fn keep(recorded: &mut Recorded, mut order: Value, status: &str, reason: Value, payment: &str, reservation: &str) {
    let order_id = order["orderId"].as_str().unwrap().to_owned();
    let quantity = order["items"][0]["quantity"].as_u64().unwrap();
    order["status"] = json!(status);
    order["reason"] = reason;
    recorded.orders.insert(order_id.clone(), order);
    recorded.payments.insert(order_id.clone(), Payment { status: payment.to_owned(), reference: None });
    let lines = BTreeMap::from([(PRODUCT.to_owned(), quantity)]);
    recorded.reservations.insert(order_id, Reservation { status: reservation.to_owned(), lines });
}

fn confirmed_order(recorded: &mut Recorded) {
    let details = place(recorded, CONFIRMED, "c", 2);
    reserve_and_pay(recorded, CONFIRMED, "c", "cap_1");
    let body = json!({"orderId": CONFIRMED, "customerId": CUSTOMER, "totalPrice": 200});
    log(recorded, &format!("order.event.confirmed.{CONFIRMED}"), "c6", "c5", 3, body);
    keep(recorded, details, "confirmed", Value::Null, "captured", "reserved");
}

fn cancelled_order(recorded: &mut Recorded) {
    let details = place(recorded, CANCELLED, "x", 2);
    reserve_and_pay(recorded, CANCELLED, "x", "cap_2");
    log(recorded, &format!("order.command.cancel.{CANCELLED}"), "x6", "", 0, json!({"orderId": CANCELLED}));
    let reason = json!({"code": "customer"});
    let body = json!({"orderId": CANCELLED, "customerId": CUSTOMER, "reason": reason});
    log(recorded, &format!("order.event.cancelled.{CANCELLED}"), "x7", "x6", 3, body);
    let lines = json!({"orderId": CANCELLED, "lines": [{"productId": PRODUCT, "quantity": 2}]});
    log(recorded, &format!("inventory.event.released.{CANCELLED}"), "x8", "x7", 2, lines);
    let refunded = json!({"orderId": CANCELLED, "customerId": CUSTOMER, "amount": 200, "currency": "EUR"});
    log(recorded, &format!("payment.event.refunded.{CANCELLED}"), "x9", "x7", 5, refunded);
    recorded.ledger.push(json!({"kind": "refunded", "key": "refund", "reference": "cap_2", "byVoid": false}));
    let accepted = json!({"orderId": CANCELLED, "status": "accepted"});
    add_exchange(recorded, "POST", &format!("/orders/{CANCELLED}/cancel"), None, json!({}), 202, accepted);
    keep(recorded, details, "cancelled", reason, "refunded", "released");
}

fn waiting_order(recorded: &mut Recorded) {
    let details = place(recorded, WAITING, "w", 20);
    let short = json!({"orderId": WAITING, "short": [PRODUCT]});
    log(recorded, &format!("inventory.event.backordered.{WAITING}"), "w3", "w2", 1, short);
    let body = json!({"orderId": WAITING, "customerId": CUSTOMER, "short": [PRODUCT]});
    log(recorded, &format!("order.event.awaiting-stock.{WAITING}"), "w4", "w3", 2, body);
    keep(recorded, details, "awaiting-stock", Value::Null, "pending", "waiting");
}
