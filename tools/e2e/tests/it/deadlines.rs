//! The stock deadline: an order waits for stock until then, and no longer.

use std::time::Duration;

use async_nats::HeaderMap;
use serde_json::json;
use uuid::Uuid;

use crate::support::{World, eventually, order};

/// The stock deadline in these tests, in seconds.
const DEADLINE: u64 = 2;

async fn a_world() -> World {
    let mut config = World::empty();
    config.stock_deadline_seconds = DEADLINE;
    let world = World::start_with(config).await;
    world.seed(&[("PRODUCT_001", 5)]).await;
    world
}

fn scheduled(order: &str) -> String {
    format!("order.schedule.stock-deadline.{order}")
}

fn due(order: &str) -> String {
    format!("order.timer.stock-deadline.{order}")
}

impl World {
    async fn begins_to_wait(&self, id: &str) {
        self.post("/orders", &order(id, "PRODUCT_001", 9)).await;
        self.eventually_status(id, "awaiting-stock").await;
    }

    /// Schedules a due deadline as order-service.
    async fn deadline_again(&self, order: &str) {
        let before = self.count("TIMERS", &due(order)).await;
        let mut headers = HeaderMap::new();
        let id = Uuid::now_v7().to_string();
        headers.insert("Nats-Schedule", "@at 2026-01-01T00:00:00Z");
        headers.insert("Nats-Schedule-Target", due(order));
        for (name, value) in [
            ("ce-id", id.as_str()),
            ("ce-type", "order.stock-deadline.v1"),
            ("ce-source", "/order-service"),
            ("ce-subject", order),
            ("ce-time", "2026-01-02T03:04:05Z"),
            ("ce-correlationid", id.as_str()),
        ] {
            headers.insert(name, value);
        }
        let body = json!({"orderId": order}).to_string().into_bytes();
        self.publish_as("order-service", &scheduled(order), headers, body).await;
        eventually("the timer is due", || async { self.count("TIMERS", &due(order)).await > before }).await;
    }
}

#[tokio::test]
async fn an_order_after_its_stock_deadline_is_cancelled_and_gets_no_later_units() {
    let world = a_world().await;
    world.begins_to_wait("WAITS").await;
    assert_eq!(world.stock("PRODUCT_001").await, (5, 0, 9));
    world.eventually_status("WAITS", "cancelled").await;
    assert_eq!(world.get("/orders/WAITS").await.body["reason"], json!({"code": "stock-deadline"}));
    world.settled().await;
    assert_eq!(world.stock("PRODUCT_001").await, (5, 0, 0));
    world.post("/products/PRODUCT_001/restock", &json!({"quantity": 10})).await;
    let placed = world.place_and_wait(&order("NEXT", "PRODUCT_001", 1)).await;
    assert_eq!(placed.body["status"], "confirmed", "{placed:?}");
    world.settled().await;
    assert_eq!(world.stock("PRODUCT_001").await, (14, 1, 0));

    // A second timer, in another message: its order no longer waits.
    let history = world.get("/orders/WAITS/history").await.body;
    world.deadline_again("WAITS").await;
    world.deadline_again("NEXT").await;
    world.settled().await;
    assert_eq!(world.get("/orders/WAITS/history").await.body, history);
    assert_eq!(world.status("NEXT").await, "confirmed");
    assert_eq!(world.count("TIMERS", &due("WAITS")).await, 2);
    world.totals_reconcile(&[("PRODUCT_001", 15)]).await;
    world.assert_healthy().await;
}

#[tokio::test]
async fn a_timer_is_cancelled_when_its_order_advances_and_a_late_timer_changes_nothing() {
    let world = a_world().await;

    // Advanced in time: no timer is due or scheduled any more.
    world.begins_to_wait("SERVED").await;
    assert_eq!(world.count("TIMERS", &scheduled("SERVED")).await, 1);
    world.post("/products/PRODUCT_001/restock", &json!({"quantity": 4})).await;
    world.eventually_status("SERVED", "confirmed").await;
    world.settled().await;
    world.nothing_is_scheduled("SERVED").await;
    world.begins_to_wait("CANCELLED").await;
    world.post("/orders/CANCELLED/cancel", &json!({})).await;
    world.eventually_status("CANCELLED", "cancelled").await;
    world.settled().await;
    world.nothing_is_scheduled("CANCELLED").await;

    // The timer is due, and delivered late: after the order was confirmed.
    world.begins_to_wait("LATE").await;
    world.hold_back("TIMERS", "order-service").await;
    eventually("the timer is due", || async { world.count("TIMERS", &due("LATE")).await == 1 }).await;
    world.post("/products/PRODUCT_001/restock", &json!({"quantity": 9})).await;
    world.eventually_status("LATE", "confirmed").await;
    world.let_go("TIMERS", "order-service").await;
    world.settled().await;
    assert_eq!(world.status("LATE").await, "confirmed");
    assert_eq!(world.charges_of("LATE").await, (1, 0));

    for order in ["SERVED", "CANCELLED"] {
        assert_eq!(world.count("TIMERS", &due(order)).await, 0, "{order}");
    }
    world.totals_reconcile(&[("PRODUCT_001", 18)]).await;
    world.assert_healthy().await;
}

impl World {
    /// The subject has at most the message that cancelled the schedule; and no timer becomes due.
    async fn nothing_is_scheduled(&self, order: &str) {
        let timers = self.stream("TIMERS").await;
        if let Ok(left) = timers.get_last_raw_message_by_subject(&scheduled(order)).await {
            assert!(left.headers.get("Nats-Schedule").is_none(), "{left:?}");
        }
        tokio::time::sleep(Duration::from_secs(DEADLINE)).await;
        assert_eq!(self.count("TIMERS", &due(order)).await, 0);
    }
}
