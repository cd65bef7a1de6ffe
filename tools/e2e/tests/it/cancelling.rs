//! Cancellations at every stage: reserved units are released and captured amounts refunded, once.

use std::time::Duration;

use demo::Component;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Engine, World, eventually, order, send};

/// The number of units; no order of these tests keeps any.
const UNITS: u64 = 100;

impl World {
    async fn cancel(&self, order: &str) {
        let cancelled = self.post(&format!("/orders/{order}/cancel"), &json!({"reason": "second thoughts"})).await;
        assert_eq!(cancelled.status, 202, "{cancelled:?}");
    }

    async fn eventually_payment(&self, order: &str, status: &str) {
        eventually(&format!("the payment of {order} is {status}"), || async {
            self.payment(order).await == status
        })
        .await;
    }

    /// Returns how often each event about an order's stock and payment was published.
    async fn published_about(&self, order: &str) -> Vec<(String, usize)> {
        let mut published = Vec::new();
        for event in ["inventory.event.released", "payment.event.captured", "payment.event.refunded"] {
            published.push((event.to_owned(), self.count("EVENTS", &format!("{event}.{order}")).await));
        }
        published.retain(|(_, count)| *count > 0);
        published
    }
}

fn once(events: &[&str]) -> Vec<(String, usize)> {
    events.iter().map(|event| ((*event).to_owned(), 1)).collect()
}

async fn a_world() -> World {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", UNITS)]).await;
    world
}

/// The order is cancelled, its units are available, and no charge is left.
async fn is_undone(world: &World, order: &str, charges: (u32, u32)) {
    world.eventually_status(order, "cancelled").await;
    world.settled().await;
    assert_eq!(world.charges_of(order).await, charges, "{order}");
    assert_eq!(world.stock("PRODUCT_001").await, (UNITS, 0, 0), "{order}");
    world.totals_reconcile(&[("PRODUCT_001", UNITS)]).await;
}

#[tokio::test]
async fn a_cancellation_before_a_capture_prevents_it() {
    let mut world = a_world().await;

    // Before the order.
    world.cancel("BEFORE").await;
    world.post("/orders", &order("BEFORE", "PRODUCT_001", 3)).await;
    is_undone(&world, "BEFORE", (0, 0)).await;

    // Before inventory-service has consumed its event.
    world.kill(Component::InventoryService).await;
    world.post("/orders", &order("PLACED", "PRODUCT_001", 3)).await;
    world.eventually_status("PLACED", "placed").await;
    world.cancel("PLACED").await;
    world.eventually_status("PLACED", "cancelled").await;
    world.start_again(Component::InventoryService).await;
    is_undone(&world, "PLACED", (0, 0)).await;

    // While it waits for stock.
    world.post("/orders", &order("WAITS", "PRODUCT_001", UNITS + 1)).await;
    world.eventually_status("WAITS", "awaiting-stock").await;
    world.cancel("WAITS").await;
    is_undone(&world, "WAITS", (0, 0)).await;
    assert_eq!(world.published_about("WAITS").await, []);

    // While its payment is due and payment-service is down.
    world.kill(Component::PaymentService).await;
    world.post("/orders", &order("RESERVED", "PRODUCT_001", 3)).await;
    world.eventually_status("RESERVED", "reserved").await;
    world.cancel("RESERVED").await;
    world.eventually_status("RESERVED", "cancelled").await;
    world.start_again(Component::PaymentService).await;
    is_undone(&world, "RESERVED", (0, 0)).await;
    assert_eq!(world.published_about("RESERVED").await, once(&["inventory.event.released"]));
    world.assert_healthy().await;
}

#[tokio::test]
async fn a_cancellation_during_a_capture_refunds_the_captured_amount() {
    let world = a_world().await;
    let on_captures = |mode: Value| {
        let mut behaviour = mode;
        behaviour["on"] = json!(["capture"]);
        behaviour
    };
    let cancelled_under = async |id: &str, behaviour: Value| {
        world.behave(on_captures(behaviour)).await;
        world.post("/orders", &order(id, "PRODUCT_001", 3)).await;
        world.eventually_payment(id, "capturing").await;
        world.cancel(id).await;
        world.eventually_status(id, "cancelled").await;
    };

    // The response arrives after the cancellation.
    cancelled_under("SLOW", json!({"mode": "slow", "ms": 1500})).await;
    is_undone(&world, "SLOW", (1, 1)).await;
    assert_eq!(world.payment("SLOW").await, "refunded");
    assert_eq!(
        world.published_about("SLOW").await,
        once(&["inventory.event.released", "payment.event.captured", "payment.event.refunded"])
    );

    // The amount is captured, and the response lost.
    cancelled_under("LOST", json!({"mode": "answer-then-drop"})).await;
    is_undone(&world, "LOST", (1, 1)).await;
    assert_eq!(world.payment("LOST").await, "refunded");
    assert_eq!(world.published_about("LOST").await, once(&["inventory.event.released", "payment.event.refunded"]));

    // Nothing is captured, and there is no response.
    cancelled_under("SILENT", json!({"mode": "drop-before"})).await;
    is_undone(&world, "SILENT", (0, 0)).await;
    assert_eq!(world.payment("SILENT").await, "cancelled");
    assert_eq!(world.published_about("SILENT").await, once(&["inventory.event.released"]));
    world.assert_healthy().await;
}

#[tokio::test]
async fn a_cancellation_that_overtakes_the_payment_is_refunded_and_a_later_one_is_refused() {
    let world = a_world().await;

    // The amount is captured, and order-service has not consumed the event.
    world.behave(json!({"mode": "slow", "ms": 500, "on": ["capture"]})).await;
    world.post("/orders", &order("OVERTAKES", "PRODUCT_001", 3)).await;
    world.eventually_status("OVERTAKES", "reserved").await;
    world.hold_back("EVENTS", "order-service").await;
    world.eventually_payment("OVERTAKES", "captured").await;
    assert_eq!(world.charges_of("OVERTAKES").await, (1, 0));
    world.cancel("OVERTAKES").await;
    world.eventually_status("OVERTAKES", "cancelled").await;
    world.let_go("EVENTS", "order-service").await;
    is_undone(&world, "OVERTAKES", (1, 1)).await;
    assert_eq!(world.payment("OVERTAKES").await, "refunded");
    assert_eq!(
        world.published_about("OVERTAKES").await,
        once(&["inventory.event.released", "payment.event.captured", "payment.event.refunded"])
    );

    // Confirmed is terminal.
    world.behave(json!({"mode": "ok"})).await;
    let placed = world.place_and_wait(&order("CONFIRMED", "PRODUCT_001", 3)).await;
    assert_eq!(placed.body["status"], "confirmed", "{placed:?}");
    let cancel = world.request(Method::POST, "/orders/CONFIRMED/cancel").header("prefer", "wait=10");
    assert_eq!(send(cancel.json(&json!({}))).await.status, 409);
    world.settled().await;
    assert_eq!(world.status("CONFIRMED").await, "confirmed");
    assert_eq!(world.charges_of("CONFIRMED").await, (1, 0));
    world.totals_reconcile(&[("PRODUCT_001", UNITS)]).await;
    world.assert_healthy().await;
}

#[tokio::test]
async fn cancellations_at_random_times_leave_totals_that_reconcile() {
    let world = a_world().await;
    world.behave(json!({"mode": "random", "seed": 5, "ms": 30, "slow": 0.5, "answerThenDrop": 0.1})).await;
    let random = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55;
    let placed = (0..150).map(|n| {
        let world = &world;
        async move {
            tokio::time::sleep(Duration::from_millis(10 * n)).await;
            world.post("/orders", &order(&format!("ORDER_{n}"), "PRODUCT_001", 1)).await;
            tokio::time::sleep(Duration::from_millis(random(n))).await;
            world.cancel(&format!("ORDER_{n}")).await;
        }
    });
    futures::future::join_all(placed).await;
    world.settled().await;
    world.totals_reconcile(&[("PRODUCT_001", UNITS)]).await;
    let charges = world.charges().await;
    let refunded = charges.values().filter(|charges| charges.refunds > 0).count();
    let charged = charges.values().filter(|charges| charges.is_charged()).count();
    eprintln!("of 150 orders that were cancelled, {charged} were confirmed before and {refunded} refunded");
    for n in 0..150 {
        assert!(matches!(world.status(&format!("ORDER_{n}")).await.as_str(), "confirmed" | "cancelled"), "{n}");
    }
    world.assert_healthy().await;
}
