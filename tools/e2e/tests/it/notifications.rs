//! Notifications of customers: one per event, even if it is delivered repeatedly or late.

use std::collections::BTreeMap;
use std::time::Duration;

use demo::Component;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::idempotence::publish_everything_again;
use crate::support::{Engine, World, eventually, order, order_of};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl World {
    /// Returns all notifications of a customer, oldest first.
    pub(crate) async fn notifications(&self, customer: &str) -> Vec<Value> {
        let page = self.get(&format!("/customers/{customer}/notifications?limit=200")).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert_eq!(page.body["next"], Value::Null, "more than a page");
        page.body["items"].as_array().unwrap().clone()
    }

    /// Opens the live feed of a customer: from a sequence on, or with new notifications only.
    async fn open_feed(&self, customer: &str, after: Option<i64>) -> Socket {
        let address = self.config().http_url(Component::NotificationService).replace("http://", "ws://");
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let url = format!("{address}/notifications?customerId={customer}{after}");
        connect_async(url).await.unwrap().0
    }

    /// Causes each kind of event with a notification; returns the expected notifications by order.
    async fn orders_that_end_in_each_way(&self) -> BTreeMap<String, Vec<&'static str>> {
        self.post("/orders", &order("CONFIRMED", "PRODUCT_001", 1)).await;
        self.eventually_status("CONFIRMED", "confirmed").await;
        self.post("/orders", &order("SERVED", "PRODUCT_002", 2)).await;
        self.eventually_status("SERVED", "awaiting-stock").await;
        self.post("/products/PRODUCT_002/restock", &json!({"quantity": 1})).await;
        self.eventually_status("SERVED", "confirmed").await;
        self.post("/orders", &order_of("POOR", "DECLINED", "PRODUCT_001", 5)).await;
        self.eventually_status("DECLINED", "cancelled").await;
        self.behave(json!({"mode": "slow", "ms": 700, "on": ["capture"]})).await;
        self.post("/orders", &order("REFUNDED", "PRODUCT_001", 1)).await;
        eventually("the payment is under way", || async { self.payment("REFUNDED").await == "capturing" }).await;
        self.post("/orders/REFUNDED/cancel", &json!({})).await;
        eventually("the money is given back", || async { self.payment("REFUNDED").await == "refunded" }).await;
        let notifications = [
            ("CONFIRMED", vec!["order.confirmed.v1"]),
            ("DECLINED", vec!["order.cancelled.v1"]),
            ("REFUNDED", vec!["order.cancelled.v1", "payment.refunded.v1"]),
            ("SERVED", vec!["order.awaiting-stock.v1", "order.confirmed.v1"]),
        ];
        notifications.into_iter().map(|(order, kinds)| (order.to_owned(), kinds)).collect()
    }
}

/// Returns the types of the notifications, by order.
fn by_order(notifications: &[Value]) -> BTreeMap<String, Vec<&str>> {
    let mut by_order: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for notification in notifications {
        let order = notification["orderId"].as_str().unwrap().to_owned();
        by_order.entry(order).or_default().push(notification["type"].as_str().unwrap());
    }
    by_order
}

#[tokio::test]
async fn a_late_notification_service_notifies_once_despite_duplicates_and_kills() {
    let mut world = World::start(Engine::Sqlite).await;
    // Down from the first account to the last order.
    world.kill(Component::NotificationService).await;
    world.seed(&[("PRODUCT_001", 100), ("PRODUCT_002", 1)]).await;
    world.open_account("POOR", "tok_visa", 10).await;
    let expected = world.orders_that_end_in_each_way().await;
    assert_eq!(world.get("/customers/CUSTOMER_001/notifications").await.status, 503);

    world.start_again(Component::NotificationService).await;
    let all = async || [world.notifications("CUSTOMER_001").await, world.notifications("POOR").await].concat();
    eventually("all notifications are there", || async { by_order(&all().await) == expected }).await;
    eventually("all are sent by e-mail", || async {
        all().await.iter().all(|notification| notification["deliveredAt"].is_string())
    })
    .await;
    let before = all().await;
    assert!(
        before.iter().all(|notification| notification["text"].as_str().unwrap().starts_with("Dear Ada Example,")),
        "{before:?}"
    );
    let mail = world.config().data.join("mail");
    assert_eq!(std::fs::read_dir(&mail).unwrap().count(), before.len());

    // Every message again, and the service is killed repeatedly meanwhile.
    world.kill(Component::NotificationService).await;
    publish_everything_again(&world).await;
    for life in 0..6 {
        world.shop.start_component(Component::NotificationService).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60 * (life + 1))).await;
        world.kill(Component::NotificationService).await;
    }
    world.start_again(Component::NotificationService).await;
    world.settled().await;
    assert_eq!([world.notifications("CUSTOMER_001").await, world.notifications("POOR").await].concat(), before);
    assert_eq!(std::fs::read_dir(&mail).unwrap().count(), before.len());
    world.assert_healthy().await;
}

#[tokio::test]
async fn a_live_feed_resumes_after_its_last_notification_and_equals_the_list() {
    let mut world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 100)]).await;
    let mut live = world.open_feed("CUSTOMER_001", None).await;
    world.post("/orders", &order("FIRST", "PRODUCT_001", 1)).await;
    let first = next(&mut live).await;
    assert_eq!((&first["orderId"], &first["type"]), (&json!("FIRST"), &json!("order.confirmed.v1")));

    // Disconnected while two more are confirmed, with the service killed in between.
    drop(live);
    world.post("/orders", &order("SECOND", "PRODUCT_001", 1)).await;
    eventually("it is recorded", || async { world.notifications("CUSTOMER_001").await.len() == 2 }).await;
    world.kill(Component::NotificationService).await;
    world.post("/orders", &order("THIRD", "PRODUCT_001", 1)).await;
    world.eventually_status("THIRD", "confirmed").await;
    world.start_again(Component::NotificationService).await;

    let mut live = world.open_feed("CUSTOMER_001", first["sequence"].as_i64()).await;
    let mut received = vec![first, next(&mut live).await, next(&mut live).await];
    world.post("/orders", &order("FOURTH", "PRODUCT_001", 1)).await;
    received.push(next(&mut live).await);
    let orders: Vec<&str> = received.iter().map(|notification| notification["orderId"].as_str().unwrap()).collect();
    assert_eq!(orders, ["FIRST", "SECOND", "THIRD", "FOURTH"]);
    // The time of the e-mail may have changed since.
    let same = |notification: &Value| {
        (notification["sequence"].clone(), notification["eventId"].clone(), notification["text"].clone())
    };
    let listed = world.notifications("CUSTOMER_001").await;
    assert_eq!(received.iter().map(same).collect::<Vec<_>>(), listed.iter().map(same).collect::<Vec<_>>());
    world.assert_healthy().await;
}

async fn next(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.unwrap().unwrap().unwrap();
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).unwrap();
        }
    }
}
