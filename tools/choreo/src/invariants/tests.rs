use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use choreography::stats::Stats;
use choreography_ops::checks::{Board, DeadLetters, Judge, Lag, Status};
use contracts::inventory::StockLine;
use contracts::query::{
    Allocation, CustomerTotal, ExposureReconciliation, LedgerCheck, LedgerDifference, LedgerDifferenceKind,
    NotificationReconciliation, Open, OpenOrders, OrderAllocations, OrderReconciliation, OrderStatus, PaymentIssue,
    PaymentReconciliation, PaymentStatus, ProductReconciliation, RepeatedNotification, StockAllocations,
    StockReconciliation,
};
use contracts::{Currency, CustomerId, OrderId, ProductId};
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;

fn total(amount: i64) -> Vec<CustomerTotal> {
    let Ok(customer_id) = CustomerId::parse("CUSTOMER_001") else { unreachable!() };
    vec![CustomerTotal { customer_id, currency: Currency::EUR, count: 1, amount }]
}

/// The flow of messages and the totals of the services.
struct Shop {
    stats: BTreeMap<String, Reply<Stats>>,
    lags: Reply<Vec<Lag>>,
    at: OffsetDateTime,
    quiet: bool,
    orders: Reply<OrderReconciliation>,
    stock: Reply<StockReconciliation>,
    payments: Reply<PaymentReconciliation>,
    notifications: Reply<NotificationReconciliation>,
}

fn decide(judge: &mut Judge, shop: &Shop, now: Instant) -> Board {
    let Shop { stats, lags, at, quiet, orders, stock, payments, notifications } = shop;
    let (stats, lags) = (stats.clone(), lags.clone());
    let dead_letters = Ok(DeadLetters::default());
    let observed = Observed { stats, lags, unknown_consumers: Vec::new(), dead_letters, at: *at, quiet: *quiet };
    let totals = Totals {
        orders: orders.clone(),
        stock: stock.clone(),
        payments: payments.clone(),
        notifications: notifications.clone(),
    };
    judge.decide(&observed, checks(&observed, &totals), now)
}

/// A consistent observation with all services.
fn quiet() -> Shop {
    let stats = |service: &str| Stats {
        service: service.to_owned(),
        outbox_depth: 0,
        outbox_unpublishable: 0,
        outbox_age_ms: None,
        examined: 10,
        repeated: Vec::new(),
        repeated_total: 0,
    };
    let services = ["order-service", "inventory-service", "payment-service", "notification-service"];
    Shop {
        stats: services.into_iter().map(|service| (service.to_owned(), Ok(stats(service)))).collect(),
        orders: Ok(OrderReconciliation {
            confirmed: total(1000),
            allocations: Some(ordered()),
            ..OrderReconciliation::default()
        }),
        stock: Ok(StockReconciliation {
            allocations: Some(reservation_lines(&[("ORDER_001", 2)], 1)),
            ..StockReconciliation::default()
        }),
        payments: Ok(PaymentReconciliation {
            captured: total(1000),
            accounts: 1,
            ledger: Some(ledger()),
            ..PaymentReconciliation::default()
        }),
        notifications: Ok(NotificationReconciliation::default()),
        lags: Ok(vec![lag(0, 10)]),
        at: datetime!(2026-11-21 10:00:30 UTC),
        quiet: true,
    }
}

fn allocation(order_id: &str, quantity: u64) -> Allocation {
    let (Ok(order_id), Ok(product_id)) = (OrderId::parse(order_id), ProductId::parse("PRODUCT_001")) else {
        unreachable!()
    };
    Allocation { order_id, lines: vec![StockLine { product_id, quantity }] }
}

/// `ORDER_001` is confirmed with two units, and `ORDER_002` is cancelled.
fn ordered() -> OrderAllocations {
    OrderAllocations {
        confirmed: 1,
        newest_confirmed: vec![allocation("ORDER_001", 2)],
        newest_cancelled: vec![allocation("ORDER_002", 1).order_id],
    }
}

/// Reservations of these orders, and the total number of reservations.
fn reservation_lines(compared: &[(&str, u64)], reserved: u64) -> StockAllocations {
    let compared = compared.iter().map(|(order_id, quantity)| allocation(order_id, *quantity));
    StockAllocations { reserved, compared: compared.collect() }
}

/// A ledger that agrees with the payments.
fn ledger() -> LedgerCheck {
    LedgerCheck { checked_at: Some("2026-11-21T10:00:00Z".to_owned()), charges: 1, ..LedgerCheck::default() }
}

fn lag(pending: u64, floor: u64) -> Lag {
    Lag {
        service: "order-service".to_owned(),
        stream: "EVENTS".to_owned(),
        pending,
        unacknowledged: 0,
        floor,
        delivered: floor,
        deliveries: floor,
        first: 1,
        last: floor + pending,
        missing: None,
        has_events: true,
        has_timers: false,
    }
}

fn open(status: OrderStatus) -> Reply<OrderReconciliation> {
    let Ok(order_id) = OrderId::parse("ORDER_001") else { unreachable!() };
    let oldest = vec![Open { order_id, since: "2026-11-21T10:00:00Z".to_owned() }];
    Ok(OrderReconciliation {
        open: vec![OpenOrders { status, count: 1, oldest }],
        confirmed: total(1000),
        allocations: Some(ordered()),
        ..OrderReconciliation::default()
    })
}

fn status_of(board: &Board, name: &str) -> Status {
    board.checks.iter().find(|check| check.name == name).map(|check| check.status).unwrap()
}

#[test]
fn a_consistent_shop_passes_every_check() {
    let board = decide(&mut Judge::default(), &quiet(), Instant::now());
    assert!(board.passes(), "{board:#?}");
    assert_eq!(board.checks.len(), 9);
}

#[test]
fn a_mismatch_across_services_is_a_violation_only_if_it_persists() {
    let (mut judge, now) = (Judge::default(), Instant::now());
    let more = Shop {
        payments: Ok(PaymentReconciliation { captured: total(1500), ..PaymentReconciliation::default() }),
        ..quiet()
    };
    assert_eq!(status_of(&decide(&mut judge, &more, now), "money-conserved"), Status::Unknown);
    assert!(judge.suspects());
    assert_eq!(
        status_of(&decide(&mut judge, &more, now + Duration::from_secs(1)), "money-conserved"),
        Status::Unknown
    );
    assert_eq!(
        status_of(&decide(&mut judge, &more, now + Duration::from_secs(2)), "money-conserved"),
        Status::Fail
    );
    assert_eq!(
        status_of(&decide(&mut judge, &quiet(), now + Duration::from_secs(3)), "money-conserved"),
        Status::Pass
    );
    assert!(!judge.suspects());
    // After an interruption, the mismatch is new.
    assert_eq!(
        status_of(&decide(&mut judge, &more, now + Duration::from_secs(9)), "money-conserved"),
        Status::Unknown
    );
}

#[test]
fn open_orders_may_have_captures_but_fewer_captures_than_confirmed_orders_are_a_violation() {
    let captured = |amount| Shop {
        payments: Ok(PaymentReconciliation { captured: total(amount), ..PaymentReconciliation::default() }),
        quiet: false,
        ..quiet()
    };
    let mut judge = Judge::default();
    assert_eq!(status_of(&decide(&mut judge, &captured(1500), Instant::now()), "money-conserved"), Status::Pass);
    assert_eq!(status_of(&decide(&mut judge, &captured(500), Instant::now()), "money-conserved"), Status::Fail);
}

#[test]
fn an_order_without_work_in_progress_is_stuck_but_a_backordered_one_is_not() {
    let (mut judge, now) = (Judge::default(), Instant::now());
    for status in [OrderStatus::Placed, OrderStatus::Reserved] {
        let stuck = Shop { orders: open(status), ..quiet() };
        let busy = Shop { orders: open(status), quiet: false, ..quiet() };
        assert_eq!(status_of(&decide(&mut judge, &busy, now), "orders-end"), Status::Pass);
        assert_eq!(status_of(&decide(&mut judge, &stuck, now), "orders-end"), Status::Unknown);
        let board = decide(&mut judge, &stuck, now + Duration::from_secs(2));
        assert_eq!(status_of(&board, "orders-end"), Status::Fail, "{board:#?}");
    }
    let blockers = Shop { orders: open(OrderStatus::AwaitingStock), ..quiet() };
    let board = decide(&mut judge, &blockers, now);
    assert_eq!(status_of(&board, "orders-end"), Status::Pass, "{board:#?}");
    assert!(board.checks.iter().any(|check| check.waiting.len() == 1));
}

#[test]
fn a_check_that_needs_an_unavailable_service_is_unknown() {
    let unavailable = Shop { stock: Err("inventory-service does not run".to_owned()), quiet: false, ..quiet() };
    let board = decide(&mut Judge::default(), &unavailable, Instant::now());
    assert_eq!(status_of(&board, "stock-conserved"), Status::Unknown);
    assert_eq!(status_of(&board, "money-conserved"), Status::Pass);
    assert!(!board.fails() && !board.passes());
}

fn find<'a>(board: &'a Board, name: &str) -> &'a Check {
    let Some(check) = board.checks.iter().find(|check| check.name == name) else { unreachable!() };
    check
}

fn order_id() -> OrderId {
    let Ok(order_id) = OrderId::parse("ORDER_001") else { unreachable!() };
    order_id
}

fn with_payments(payments: PaymentReconciliation) -> Shop {
    let payments = PaymentReconciliation { captured: total(1000), ..payments };
    Shop { payments: Ok(payments), quiet: false, ..quiet() }
}

fn issue(status: PaymentStatus, alarm: bool) -> PaymentIssue {
    let (since, answer) = ("2026-11-21T09:00:00Z".to_owned(), Some("the provider answered 500".to_owned()));
    PaymentIssue { order_id: order_id(), status, alarm, since, attempts: 22, answer }
}

#[test]
fn an_overdue_refund_is_reported_with_its_age_and_the_response_of_the_provider() {
    for (status, alarm, advice) in
        [(PaymentStatus::Refunding, false, "repeats"), (PaymentStatus::RefundFailed, true, "payment-service retry")]
    {
        let issues = vec![issue(status, alarm)];
        let payments = PaymentReconciliation {
            overdue: 30,
            issues,
            ledger: Some(ledger()),
            ..PaymentReconciliation::default()
        };
        let board = decide(&mut Judge::default(), &with_payments(payments), Instant::now());
        let check = find(&board, "money-conserved");
        assert_eq!((check.status, check.total, check.violations.len()), (Status::Fail, 30, 1), "{check:#?}");
        let explanation = &check.violations[0].explanation;
        assert!(
            ["09:00:00", "answered 500", "22 attempts", advice].iter().all(|text| explanation.contains(text)),
            "{explanation}"
        );
    }
}

#[test]
fn the_total_of_a_check_includes_violations_that_are_only_counted() {
    let wrong: Vec<ProductReconciliation> = (0..20)
        .map(|n| ProductReconciliation {
            product_id: format!("P{n}"),
            received: 3,
            available: 1,
            reserved: 1,
            reservation_lines: 1,
            backordered: 0,
            backorder_lines: 0,
        })
        .collect();
    let stock = StockReconciliation {
        products: 100,
        wrong: wrong.clone(),
        wrong_total: 45,
        ..StockReconciliation::default()
    };
    let board = decide(&mut Judge::default(), &Shop { stock: Ok(stock), ..quiet() }, Instant::now());
    let check = find(&board, "stock-conserved");
    assert_eq!((check.total, check.violations.len(), &*check.detail), (45, 20, "45 of 100 violate it"));
    // A service of an earlier release reports no total.
    let stock = StockReconciliation { products: 100, wrong, wrong_total: 0, ..StockReconciliation::default() };
    let board = decide(&mut Judge::default(), &Shop { stock: Ok(stock), ..quiet() }, Instant::now());
    assert_eq!(find(&board, "stock-conserved").total, 20);

    let exposure =
        ExposureReconciliation { customer_id: "C".to_owned(), currency: "EUR".to_owned(), exposure: 2, counted: 1 };
    let payments = PaymentReconciliation {
        accounts: 50,
        wrong: vec![exposure],
        wrong_total: 33,
        captured: total(1000),
        ledger: Some(ledger()),
        ..PaymentReconciliation::default()
    };
    let board = decide(&mut Judge::default(), &with_payments(payments), Instant::now());
    let check = find(&board, "money-conserved");
    assert_eq!((check.total, check.violations.len()), (33, 1), "{check:#?}");

    let again =
        RepeatedNotification { order_id: "O".to_owned(), message_type: "order.confirmed.v1".to_owned(), count: 2 };
    let notifications = NotificationReconciliation { examined: 90, repeated: vec![again], repeated_total: 30 };
    let board =
        decide(&mut Judge::default(), &Shop { notifications: Ok(notifications), ..quiet() }, Instant::now());
    assert_eq!(find(&board, "handled-once").total, 30);
}

#[test]
fn alarms_and_every_kind_of_ledger_difference_fail_the_ledger_check() {
    use LedgerDifferenceKind::{Content, Doubled, Extra, Missing, Refund};
    let issues = vec![issue(PaymentStatus::Declined, true)];
    let alarm =
        PaymentReconciliation { alarms: 1, issues, ledger: Some(ledger()), ..PaymentReconciliation::default() };
    let board = decide(&mut Judge::default(), &with_payments(alarm), Instant::now());
    assert_eq!(status_of(&board, "provider-ledger"), Status::Fail);
    assert_eq!(status_of(&board, "money-conserved"), Status::Pass);
    let kinds = [Content, Doubled, Extra, Missing, Refund];
    let difference = |kind| LedgerDifference { order_id: "ORDER_001".to_owned(), kind, explanation: String::new() };
    let differences: Vec<_> = kinds.into_iter().map(difference).collect();
    let doctored = Some(LedgerCheck { total: 7, differences, ..ledger() });
    let payments = PaymentReconciliation { ledger: doctored, ..PaymentReconciliation::default() };
    let board = decide(&mut Judge::default(), &with_payments(payments), Instant::now());
    let check = find(&board, "provider-ledger");
    assert_eq!((check.status, check.total), (Status::Fail, 7), "{check:#?}");
    let ids: std::collections::BTreeSet<_> = check.violations.iter().map(|violations| &violations.id).collect();
    assert_eq!(ids.len(), 5, "a list can be keyed by them");
}

#[test]
fn without_a_ledger_the_ledger_check_is_unknown() {
    let offers_none = LedgerCheck { unavailable: Some("the provider offers no ledger".to_owned()), ..ledger() };
    for ledger in [None, Some(LedgerCheck::default()), Some(offers_none)] {
        let payments = PaymentReconciliation { ledger, ..PaymentReconciliation::default() };
        let board = decide(&mut Judge::default(), &with_payments(payments), Instant::now());
        assert_eq!(status_of(&board, "provider-ledger"), Status::Unknown);
    }
}

#[test]
fn an_order_that_stays_in_a_state_for_too_long_is_reported_with_its_cause() {
    let at = datetime!(2026-11-21 10:05 UTC);
    for (status, deadline, expected) in [
        (OrderStatus::Placed, None, Status::Fail),
        (OrderStatus::Reserved, None, Status::Fail),
        (OrderStatus::AwaitingStock, None, Status::Pass),
        (OrderStatus::AwaitingStock, Some(3600), Status::Pass),
        (OrderStatus::AwaitingStock, Some(60), Status::Fail),
    ] {
        let orders = open(status).map(|orders| OrderReconciliation { stock_deadline_seconds: deadline, ..orders });
        // Another message is always under way.
        let busy = Shop { orders, at, quiet: false, ..quiet() };
        let board = decide(&mut Judge::default(), &busy, Instant::now());
        assert_eq!(status_of(&board, "orders-end"), expected, "{status:?} {deadline:?} {board:#?}");
    }
    let cause = |observed: Shop| {
        let board = decide(&mut Judge::default(), &Shop { at, quiet: false, ..observed }, Instant::now());
        find(&board, "orders-end").violations[0].explanation.clone()
    };
    let placed = || Shop { orders: open(OrderStatus::Placed), ..quiet() };
    assert!(cause(placed()).contains("a message is lost"));
    let mut unavailable = placed();
    unavailable.stats.insert("inventory-service".to_owned(), Err("inventory-service does not run".to_owned()));
    assert!(cause(unavailable).contains("inventory-service does not run"));
    let behind = Lag { service: "inventory-service".to_owned(), ..lag(5, 10) };
    assert!(cause(Shop { lags: Ok(vec![behind]), ..placed() }).contains("5 messages of EVENTS wait"));
    let mut refused = placed();
    if let Some(Ok(stats)) = refused.stats.get_mut("order-service") {
        (stats.outbox_depth, stats.outbox_age_ms) = (3, Some(60_000));
    }
    assert!(cause(refused).contains("3 pending messages"));
    let issues = vec![issue(PaymentStatus::Capturing, false)];
    let payments = Ok(PaymentReconciliation { captured: total(1000), issues, ..PaymentReconciliation::default() });
    assert!(cause(Shop { orders: open(OrderStatus::Reserved), payments, ..quiet() }).contains("answered 500"));
}

/// Decides twice, long enough apart for a mismatch to persist; returns the status and the keys of `orders-reserved`.
fn reservations(observed: &Shop) -> (Status, Vec<String>) {
    let (mut judge, now) = (Judge::default(), Instant::now());
    decide(&mut judge, observed, now);
    let board = decide(&mut judge, observed, now + Duration::from_secs(2));
    let check = board.checks.into_iter().find(|check| check.name == "orders-reserved");
    check
        .map(|check| (check.status, check.violations.into_iter().map(|violation| violation.key).collect()))
        .unwrap()
}

#[test]
fn a_confirmed_order_without_its_units_is_always_reported() {
    for quiet in [true, false] {
        let with = |allocations| {
            let stock =
                Ok(StockReconciliation { allocations: Some(allocations), ..StockReconciliation::default() });
            reservations(&Shop { stock, quiet, ..self::quiet() })
        };
        let named = |key: &str| (Status::Fail, vec![key.to_owned()]);
        assert_eq!(with(reservation_lines(&[("ORDER_001", 2)], 1)), (Status::Pass, Vec::new()));
        assert_eq!(with(reservation_lines(&[("ORDER_001", 3)], 1)), named("ORDER_001"));
        assert_eq!(with(reservation_lines(&[], 0)), named("ORDER_001"));
        // Too old to be compared individually, but counted.
        assert_eq!(with(reservation_lines(&[("ORDER_001", 2)], 0)), named("inventory-service"));
    }
}

#[test]
fn units_of_a_cancelled_or_unknown_order_are_reported_while_no_message_is_under_way() {
    let with = |quiet, allocations| {
        let stock = Ok(StockReconciliation { allocations: Some(allocations), ..StockReconciliation::default() });
        reservations(&Shop { stock, quiet, ..self::quiet() })
    };
    let cancelled = reservation_lines(&[("ORDER_001", 2), ("ORDER_002", 1)], 2);
    assert_eq!(with(true, cancelled.clone()), (Status::Fail, vec!["ORDER_002".to_owned()]));
    assert_eq!(with(false, cancelled), (Status::Pass, Vec::new()));
    let unknown = reservation_lines(&[("ORDER_001", 2)], 2);
    assert_eq!(with(true, unknown.clone()), (Status::Fail, vec!["inventory-service".to_owned()]));
    assert_eq!(with(false, unknown), (Status::Pass, Vec::new()));
}

#[test]
fn an_order_whose_payment_is_in_progress_keeps_its_units() {
    let with = |reserved| {
        let stock = reservation_lines(&[("ORDER_001", 2)], reserved);
        let stock = Ok(StockReconciliation { allocations: Some(stock), ..StockReconciliation::default() });
        reservations(&Shop { orders: open(OrderStatus::Reserved), stock, ..quiet() })
    };
    assert_eq!(with(2), (Status::Pass, Vec::new()));
    assert_eq!(with(1), (Status::Fail, vec!["inventory-service".to_owned()]));
}

#[test]
fn allocations_that_an_earlier_release_does_not_report_are_unknown() {
    let board = decide(
        &mut Judge::default(),
        &Shop { stock: Ok(StockReconciliation::default()), ..quiet() },
        Instant::now(),
    );
    assert_eq!(status_of(&board, "orders-reserved"), Status::Unknown);
    assert_eq!(status_of(&board, "stock-conserved"), Status::Pass);
}
