//! Events for tests.

use contracts::account::{AccountChanged, AccountDeleted, AccountDetails};
use contracts::declaration::NotificationMessage;
use contracts::declaration::{AccountMessage, NotifiableEvent};
use contracts::order::{CancelReason, OrderAwaitingStock, OrderCancelled, OrderConfirmed};
use contracts::payment::PaymentRefunded;
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId};
use serde_json::json;

pub(crate) fn customer(id: &str) -> CustomerId {
    CustomerId::parse(id).unwrap()
}

pub(crate) fn order(id: &str) -> OrderId {
    OrderId::parse(id).unwrap()
}

pub(crate) fn products(ids: &[&str]) -> Vec<ProductId> {
    ids.iter().map(|id| ProductId::parse(*id).unwrap()).collect()
}

pub(crate) fn amount(minor_units: i64) -> Amount {
    Amount::parse(minor_units).unwrap()
}

pub(crate) fn details(name: &str, email: &str) -> AccountDetails {
    let details = json!({
        "name": name, "addresses": [], "contact": {"email": email}, "creditLimit": {"amount": 0, "currency": "EUR"},
    });
    serde_json::from_value(details).unwrap()
}

pub(crate) fn changed(id: &str, version: i64, name: &str, email: &str) -> NotificationMessage {
    let event = AccountChanged { customer_id: customer(id), version, details: details(name, email) };
    NotificationMessage::Account(AccountMessage::Changed(event))
}

pub(crate) fn deleted(id: &str, version: i64) -> NotificationMessage {
    NotificationMessage::Account(AccountMessage::Deleted(AccountDeleted { customer_id: customer(id), version }))
}

pub(crate) fn awaiting(order_id: &str, customer_id: &str, short: &[&str]) -> NotifiableEvent {
    let (order_id, customer_id) = (order(order_id), customer(customer_id));
    NotifiableEvent::AwaitingStock(OrderAwaitingStock { order_id, customer_id, short: products(short) })
}

pub(crate) fn confirmed(order_id: &str, customer_id: &str, total: i64, currency: Currency) -> NotifiableEvent {
    let (order_id, customer_id) = (order(order_id), customer(customer_id));
    NotifiableEvent::Confirmed(OrderConfirmed { order_id, customer_id, currency, total_price: amount(total) })
}

pub(crate) fn cancelled(order_id: &str, customer_id: &str, reason: CancelReason) -> NotifiableEvent {
    NotifiableEvent::Cancelled(OrderCancelled {
        order_id: order(order_id),
        customer_id: customer(customer_id),
        reason,
    })
}

pub(crate) fn refunded(order_id: &str, customer_id: &str, sum: i64, currency: Currency) -> NotifiableEvent {
    let (order_id, customer_id) = (order(order_id), customer(customer_id));
    NotifiableEvent::Refunded(PaymentRefunded { order_id, customer_id, amount: amount(sum), currency })
}

/// One event of each type, each of another order of one customer.
pub(crate) fn one_of_each(customer_id: &str) -> Vec<NotifiableEvent> {
    vec![
        awaiting("O1", customer_id, &["CUP"]),
        confirmed("O2", customer_id, 1000, Currency::EUR),
        cancelled("O3", customer_id, CancelReason::StockDeadline),
        refunded("O4", customer_id, 500, Currency::EUR),
    ]
}
