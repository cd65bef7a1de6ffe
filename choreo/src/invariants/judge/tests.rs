use std::time::Duration;

use contracts::query::{
    CustomerTotal, NotificationBalance, Open, OpenOrders, OrderBalance, OrderStatus, PaymentBalance, StockBalance,
};
use contracts::{Currency, CustomerId, OrderId};
use messaging::vitals::Vitals;

use super::super::observe::Letters;
use super::*;

fn total(amount: i64) -> Vec<CustomerTotal> {
    let Ok(customer_id) = CustomerId::parse("CUSTOMER_001") else { unreachable!() };
    vec![CustomerTotal { customer_id, currency: Currency::EUR, count: 1, amount }]
}

/// Answers in which everything adds up, with a service of each name.
fn quiet() -> Observed {
    let vitals = |service: &str| Vitals {
        service: service.to_owned(),
        outbox_depth: 0,
        outbox_unpublishable: 0,
        outbox_age_ms: None,
        looked: 10,
        repeated: Vec::new(),
    };
    let services = ["order-service", "inventory-service", "payment-service", "notification-service"];
    Observed {
        vitals: services.into_iter().map(|service| (service.to_owned(), Ok(vitals(service)))).collect(),
        orders: Ok(OrderBalance { confirmed: total(1000), ..OrderBalance::default() }),
        stock: Ok(StockBalance::default()),
        payments: Ok(PaymentBalance { captured: total(1000), accounts: 1, ..PaymentBalance::default() }),
        told: Ok(NotificationBalance::default()),
        lags: Ok(vec![lag(0, 10)]),
        letters: Ok(Letters::default()),
        quiet: true,
    }
}

fn lag(pending: u64, floor: u64) -> Lag {
    Lag {
        service: "order-service".to_owned(),
        stream: "EVENTS".to_owned(),
        pending,
        unacknowledged: 0,
        floor,
        delivered: floor,
        last: floor + pending,
    }
}

fn open(status: OrderStatus) -> Answer<OrderBalance> {
    let Ok(order_id) = OrderId::parse("ORDER_001") else { unreachable!() };
    let oldest = vec![Open { order_id, since: "2026-11-21T10:00:00Z".to_owned() }];
    Ok(OrderBalance { open: vec![OpenOrders { status, count: 1, oldest }], confirmed: total(1000), more: false })
}

fn holds(board: &Board, name: &str) -> Option<bool> {
    board.checks.iter().find(|check| check.name == name).and_then(|check| check.holds)
}

#[test]
fn everything_holds_where_everything_adds_up() {
    let board = Judge::default().decide(&quiet(), Instant::now());
    assert!(board.holds(), "{board:#?}");
    assert_eq!(board.checks.len(), 7);
}

#[test]
fn what_does_not_add_up_across_services_is_broken_only_if_it_stays() {
    let (mut judge, now) = (Judge::default(), Instant::now());
    let more =
        Observed { payments: Ok(PaymentBalance { captured: total(1500), ..PaymentBalance::default() }), ..quiet() };
    assert_eq!(holds(&judge.decide(&more, now), "money-conserved"), None);
    assert!(judge.suspects());
    assert_eq!(holds(&judge.decide(&more, now + Duration::from_secs(1)), "money-conserved"), None);
    assert_eq!(holds(&judge.decide(&more, now + Duration::from_secs(2)), "money-conserved"), Some(false));
    assert_eq!(holds(&judge.decide(&quiet(), now + Duration::from_secs(3)), "money-conserved"), Some(true));
    assert!(!judge.suspects());
    // Seen again, it is new.
    assert_eq!(holds(&judge.decide(&more, now + Duration::from_secs(9)), "money-conserved"), None);
}

#[test]
fn more_is_captured_for_orders_that_are_under_way_and_less_is_never_right() {
    let captured = |amount| Observed {
        payments: Ok(PaymentBalance { captured: total(amount), ..PaymentBalance::default() }),
        quiet: false,
        ..quiet()
    };
    let mut judge = Judge::default();
    assert_eq!(holds(&judge.decide(&captured(1500), Instant::now()), "money-conserved"), Some(true));
    assert_eq!(holds(&judge.decide(&captured(500), Instant::now()), "money-conserved"), Some(false));
}

#[test]
fn an_order_that_nobody_works_at_is_stuck_and_one_that_waits_for_stock_is_not() {
    let (mut judge, now) = (Judge::default(), Instant::now());
    for status in [OrderStatus::Placed, OrderStatus::Reserved] {
        let stuck = Observed { orders: open(status), ..quiet() };
        let busy = Observed { orders: open(status), quiet: false, ..quiet() };
        assert_eq!(holds(&judge.decide(&busy, now), "orders-end"), Some(true));
        assert_eq!(holds(&judge.decide(&stuck, now), "orders-end"), None);
        let board = judge.decide(&stuck, now + Duration::from_secs(2));
        assert_eq!(holds(&board, "orders-end"), Some(false), "{board:#?}");
    }
    let waits = Observed { orders: open(OrderStatus::AwaitingStock), ..quiet() };
    let board = judge.decide(&waits, now);
    assert_eq!(holds(&board, "orders-end"), Some(true), "{board:#?}");
    assert!(board.checks.iter().any(|check| check.waiting.len() == 1));
}

#[test]
fn a_service_that_is_away_leaves_unknown_what_only_it_knows() {
    let away = Observed { stock: Err("inventory-service does not run".to_owned()), quiet: false, ..quiet() };
    let board = Judge::default().decide(&away, Instant::now());
    assert_eq!(holds(&board, "stock-conserved"), None);
    assert_eq!(holds(&board, "money-conserved"), Some(true));
    assert!(!board.is_broken() && !board.holds());
}

#[test]
fn a_consumer_that_is_behind_is_broken_only_if_it_does_not_move() {
    let (mut judge, start) = (Judge::default(), Instant::now());
    let mut at = |seconds: u64, pending: u64, floor: u64| {
        let observed = Observed { lags: Ok(vec![lag(pending, floor)]), quiet: false, ..quiet() };
        holds(&judge.decide(&observed, start + Duration::from_secs(seconds)), "consumers")
    };
    assert_eq!(at(0, 100, 10), Some(true));
    assert_eq!(at(10, 100, 20), Some(true));
    assert_eq!(at(24, 100, 20), Some(true));
    assert_eq!(at(26, 100, 20), Some(false));
    assert_eq!(at(27, 0, 120), Some(true));
    assert_eq!(at(60, 5, 120), Some(true));
}
