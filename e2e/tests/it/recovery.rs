//! If somebody is away or something is short, the flow waits and goes on by itself.

use demo::Component;
use reqwest::Method;
use serde_json::json;

use crate::support::{Engine, World, answer, eventually, order};

#[tokio::test]
async fn an_order_awaits_an_inventory_that_is_away() {
    let mut world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    world.kill(Component::InventoryService).await;
    assert_eq!(world.post("/orders", &order("ORDER_001", "PRODUCT_001", 3)).await.status, 202);
    world.eventually_status("ORDER_001", "placed").await;
    assert_eq!(world.get("/products/PRODUCT_001").await.status, 503);
    world.start_again(Component::InventoryService).await;
    world.eventually_status("ORDER_001", "confirmed").await;
    assert_eq!(world.stock("PRODUCT_001").await, (7, 3, 0));
    world.all_is_well().await;
}

#[tokio::test]
async fn an_order_awaits_an_order_service_that_is_away() {
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
    world.all_is_well().await;
}

#[tokio::test]
async fn without_a_broker_the_gateway_says_when_to_come_back_and_the_same_request_works_then() {
    let mut world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    world.kill(Component::NatsServer).await;
    let request = || {
        let request = world.request(Method::POST, "/orders").header("idempotency-key", "\"k\"");
        request.json(&order("ORDER_001", "PRODUCT_001", 3))
    };
    let refused = answer(request()).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    let again = request();
    world.start_again(Component::NatsServer).await;
    for component in Component::SERVICES {
        world.shop.wait_until_ready(component, &|_| {}).await.unwrap();
    }
    assert_eq!(answer(again).await.status, 202);
    world.eventually_status("ORDER_001", "confirmed").await;
    assert_eq!(world.stock("PRODUCT_001").await, (7, 3, 0));
    world.all_is_well().await;
}

#[tokio::test]
async fn an_order_over_the_stock_waits_and_a_restock_lets_it_through() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 2)]).await;
    world.post("/orders", &order("ORDER_001", "PRODUCT_001", 5)).await;
    world.eventually_status("ORDER_001", "awaiting-stock").await;
    // Two units are there, and promised: who comes later does not overtake.
    world.post("/orders", &order("ORDER_002", "PRODUCT_001", 1)).await;
    world.eventually_status("ORDER_002", "awaiting-stock").await;
    assert_eq!(world.stock("PRODUCT_001").await, (2, 0, 6));
    world.post("/products/PRODUCT_001/restock", &json!({"quantity": 3})).await;
    world.eventually_status("ORDER_001", "confirmed").await;
    assert_eq!(world.stock("PRODUCT_001").await, (0, 5, 1));
    world.post("/products/PRODUCT_001/restock", &json!({"quantity": 1})).await;
    world.eventually_status("ORDER_002", "confirmed").await;
    world.all_is_well().await;
}

#[tokio::test]
async fn a_cancel_gives_back_what_was_waited_for_and_a_confirmed_order_stays() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 5)]).await;
    world.post("/orders", &order("WAITS", "PRODUCT_001", 9)).await;
    world.eventually_status("WAITS", "awaiting-stock").await;
    world.post("/orders", &order("BEHIND", "PRODUCT_001", 2)).await;
    world.eventually_status("BEHIND", "awaiting-stock").await;
    let cancel = world.request(Method::POST, "/orders/WAITS/cancel").header("prefer", "wait=10");
    let cancelled = answer(cancel.json(&json!({"reason": "too slow"}))).await;
    assert_eq!((cancelled.status, &cancelled.body["status"]), (200, &json!("cancelled")), "{cancelled:?}");
    assert_eq!(cancelled.body["reason"], json!({"code": "customer", "text": "too slow"}));
    world.eventually_status("BEHIND", "confirmed").await;
    let cancel = world.request(Method::POST, "/orders/BEHIND/cancel").header("prefer", "wait=10");
    assert_eq!(answer(cancel.json(&json!({}))).await.status, 409);
    assert_eq!(world.stock("PRODUCT_001").await, (3, 2, 0));
    world.all_is_well().await;
}

#[tokio::test]
async fn an_unknown_product_cancels_the_order_with_that_reason() {
    let world = World::start(Engine::Sqlite).await;
    let placed = world.place_and_wait(&order("ORDER_001", "NOWHERE", 1)).await;
    assert_eq!((placed.status, &placed.body["status"]), (200, &json!("cancelled")), "{placed:?}");
    assert_eq!(placed.body["reason"], json!({"code": "unknown-product", "productIds": ["NOWHERE"]}));
    world.all_is_well().await;
}

#[tokio::test]
async fn a_stopped_store_ends_cleanly_and_finds_its_data_again() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    world.place_and_wait(&order("ORDER_001", "PRODUCT_001", 3)).await;
    let config = world.shut_down().await;
    let world = World::start_with(config).await;
    assert_eq!(world.status("ORDER_001").await, "confirmed");
    assert_eq!(world.stock("PRODUCT_001").await, (7, 3, 0));
    eventually("what was placed before stays placed", || async {
        world.place_and_wait(&order("ORDER_001", "PRODUCT_001", 3)).await.body["status"] == "confirmed"
    })
    .await;
    assert_eq!(world.stock("PRODUCT_001").await, (7, 3, 0));
    world.all_is_well().await;
}
