//! If a service is down or stock is short, the flow waits and continues by itself.

use demo::Component;
use reqwest::Method;
use serde_json::json;

use crate::support::{Engine, World, eventually, order, send};

#[tokio::test]
async fn an_order_waits_while_inventory_service_is_down() {
    let mut world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    world.kill(Component::InventoryService).await;
    assert_eq!(world.post("/orders", &order("ORDER_001", "PRODUCT_001", 3)).await.status, 202);
    world.eventually_status("ORDER_001", "placed").await;
    assert_eq!(world.get("/products/PRODUCT_001").await.status, 503);
    world.start_again(Component::InventoryService).await;
    world.eventually_status("ORDER_001", "confirmed").await;
    assert_eq!(world.stock("PRODUCT_001").await, (7, 3, 0));
    world.assert_healthy().await;
}

#[tokio::test]
async fn an_order_waits_while_order_service_is_down() {
    let mut world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    world.kill(Component::OrderService).await;
    let placed = world.post("/orders", &order("ORDER_001", "PRODUCT_001", 3)).await;
    assert_eq!(placed.status, 202);
    let asked = world.get("/orders/ORDER_001").await;
    assert_eq!(asked.status, 503);
    assert!(asked.headers.contains_key("retry-after"));
    world.start_again(Component::OrderService).await;
    world.eventually_status("ORDER_001", "confirmed").await;
    world.assert_healthy().await;
}

#[tokio::test]
async fn without_a_broker_the_gateway_responds_with_retry_after_and_the_same_request_succeeds_later() {
    let mut world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    world.kill(Component::NatsServer).await;
    let request = || {
        let request = world.request(Method::POST, "/orders").header("idempotency-key", "\"k\"");
        request.json(&order("ORDER_001", "PRODUCT_001", 3))
    };
    let refused = send(request()).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    let again = request();
    world.start_again(Component::NatsServer).await;
    for component in Component::SERVICES {
        world.shop.wait_until_ready(component, &|_| {}).await.unwrap();
    }
    assert_eq!(send(again).await.status, 202);
    world.eventually_status("ORDER_001", "confirmed").await;
    assert_eq!(world.stock("PRODUCT_001").await, (7, 3, 0));
    world.assert_healthy().await;
}

#[tokio::test]
async fn an_order_that_exceeds_the_stock_waits_until_a_restock() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 2)]).await;
    world.post("/orders", &order("ORDER_001", "PRODUCT_001", 5)).await;
    world.eventually_status("ORDER_001", "awaiting-stock").await;
    // Two units are available, but promised: a later order does not overtake.
    world.post("/orders", &order("ORDER_002", "PRODUCT_001", 1)).await;
    world.eventually_status("ORDER_002", "awaiting-stock").await;
    assert_eq!(world.stock("PRODUCT_001").await, (2, 0, 6));
    world.post("/products/PRODUCT_001/restock", &json!({"quantity": 3})).await;
    world.eventually_status("ORDER_001", "confirmed").await;
    assert_eq!(world.stock("PRODUCT_001").await, (0, 5, 1));
    world.post("/products/PRODUCT_001/restock", &json!({"quantity": 1})).await;
    world.eventually_status("ORDER_002", "confirmed").await;
    world.assert_healthy().await;
}

#[tokio::test]
async fn a_cancellation_removes_the_backorder_and_a_confirmed_order_stays() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 5)]).await;
    world.post("/orders", &order("WAITS", "PRODUCT_001", 9)).await;
    world.eventually_status("WAITS", "awaiting-stock").await;
    world.post("/orders", &order("BEHIND", "PRODUCT_001", 2)).await;
    world.eventually_status("BEHIND", "awaiting-stock").await;
    let cancel = world.request(Method::POST, "/orders/WAITS/cancel").header("prefer", "wait=10");
    let cancelled = send(cancel.json(&json!({"reason": "too slow"}))).await;
    assert_eq!((cancelled.status, &cancelled.body["status"]), (200, &json!("cancelled")), "{cancelled:?}");
    assert_eq!(cancelled.body["reason"], json!({"code": "customer", "text": "too slow"}));
    world.eventually_status("BEHIND", "confirmed").await;
    let cancel = world.request(Method::POST, "/orders/BEHIND/cancel").header("prefer", "wait=10");
    assert_eq!(send(cancel.json(&json!({}))).await.status, 409);
    assert_eq!(world.stock("PRODUCT_001").await, (3, 2, 0));
    world.assert_healthy().await;
}

#[tokio::test]
async fn an_unknown_product_cancels_the_order_with_that_reason() {
    let world = World::start(Engine::Sqlite).await;
    let placed = world.place_and_wait(&order("ORDER_001", "NOWHERE", 1)).await;
    assert_eq!((placed.status, &placed.body["status"]), (200, &json!("cancelled")), "{placed:?}");
    assert_eq!(placed.body["reason"], json!({"code": "unknown-product", "productIds": ["NOWHERE"]}));
    world.assert_healthy().await;
}

#[tokio::test]
async fn a_stopped_shop_ends_cleanly_and_keeps_its_data() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    world.place_and_wait(&order("ORDER_001", "PRODUCT_001", 3)).await;
    let config = world.shut_down().await;
    let world = World::start_with(config).await;
    assert_eq!(world.status("ORDER_001").await, "confirmed");
    assert_eq!(world.stock("PRODUCT_001").await, (7, 3, 0));
    eventually("the earlier order is still confirmed", || async {
        world.place_and_wait(&order("ORDER_001", "PRODUCT_001", 3)).await.body["status"] == "confirmed"
    })
    .await;
    assert_eq!(world.stock("PRODUCT_001").await, (7, 3, 0));
    world.assert_healthy().await;
}
