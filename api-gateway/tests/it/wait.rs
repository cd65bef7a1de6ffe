//! `Prefer: wait` holds a response until the order is final.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::{FakeService, HttpResponse, Shop, Stored, a_view, an_order, until};

const GET: &str = "order.query.get.ORDER_001";

/// Sends a request that waits, and returns once its command is stored and the order was queried.
async fn waiting(
    shop: &Shop,
    service: &FakeService,
    path: &str,
    body: &Value,
    prefer: &str,
) -> (JoinHandle<(HttpResponse, Duration)>, Stored) {
    let (commands, queries) = (shop.commands().await.len(), service.queries().len());
    let request = shop.post(path, body).header("prefer", prefer);
    let pending = tokio::spawn(async move {
        let start = Instant::now();
        (HttpResponse::of(request).await, start.elapsed())
    });
    until("the order is queried", || async { service.queries().len() > queries }).await;
    (pending, shop.commands().await[commands].clone())
}

async fn place(shop: &Shop, service: &FakeService) -> (JoinHandle<(HttpResponse, Duration)>, Stored) {
    waiting(shop, service, "/orders", &an_order("ORDER_001"), "wait=20").await
}

#[tokio::test]
async fn a_confirmation_ends_the_wait_at_once() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let (pending, command) = place(&shop, &service).await;
    service.publish("order.event.placed.ORDER_001", command.id(), &an_order("ORDER_001")).await;
    let view = a_view(&an_order("ORDER_001"), "confirmed");
    service.will_reply(GET, Ok(view.clone()));
    let mut confirmed = an_order("ORDER_001");
    confirmed.as_object_mut().unwrap().remove("items");
    service.publish("order.event.confirmed.ORDER_001", command.id(), &confirmed).await;
    let (response, took) = pending.await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body), (200, &view), "{response:?}");
    assert_eq!(response.header("preference-applied"), Some("wait=20"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn an_order_that_is_final_already_is_returned_without_an_event() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let mut view = a_view(&an_order("ORDER_001"), "cancelled");
    view["reason"] = json!({"code": "unknown-product", "productIds": ["PRODUCT_002"]});
    service.will_reply(GET, Ok(view.clone()));
    let (pending, _) = place(&shop, &service).await;
    let (response, took) = pending.await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body), (200, &view), "{response:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_lost_event_delays_the_response_by_seconds_only() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let (pending, _) = place(&shop, &service).await;
    service.will_reply(GET, Ok(a_view(&an_order("ORDER_001"), "confirmed")));
    let (response, took) = pending.await.unwrap();
    assert_eq!(response.status, 200);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn only_the_refusal_of_the_own_command_counts() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let (pending, command) = place(&shop, &service).await;
    let refused = json!({"orderId": "ORDER_001", "reason": "id-already-used"});
    service.publish("order.event.place-refused.ORDER_001", Uuid::now_v7(), &refused).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!pending.is_finished());
    service.publish("order.event.place-refused.ORDER_001", command.id(), &refused).await;
    let (response, _) = pending.await.unwrap();
    response.is_problem(422, "order-id-already-used");
}

#[tokio::test]
async fn an_order_with_other_content_is_refused() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let mut other = a_view(&an_order("ORDER_001"), "confirmed");
    other["customerId"] = json!("CUSTOMER_002");
    service.will_reply(GET, Ok(other));
    let (pending, _) = place(&shop, &service).await;
    let (response, took) = pending.await.unwrap();
    response.is_problem(422, "order-id-already-used");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_cancellation_waits_until_the_order_is_cancelled() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let path = "/orders/ORDER_001/cancel";
    service.will_reply(GET, Ok(a_view(&an_order("ORDER_001"), "reserved")));
    let (pending, command) = waiting(&shop, &service, path, &json!({}), "wait=20").await;
    let mut view = a_view(&an_order("ORDER_001"), "cancelled");
    view["reason"] = json!({"code": "customer"});
    service.will_reply(GET, Ok(view.clone()));
    let event = json!({"orderId": "ORDER_001", "customerId": "CUSTOMER_001", "reason": {"code": "customer"}});
    service.publish("order.event.cancelled.ORDER_001", command.id(), &event).await;
    let (response, took) = pending.await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body), (200, &view), "{response:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_confirmed_order_cannot_be_cancelled() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let path = "/orders/ORDER_001/cancel";
    let (pending, command) = waiting(&shop, &service, path, &json!({}), "wait=20").await;
    let refused = json!({"orderId": "ORDER_001", "reason": "already-confirmed"});
    service.publish("order.event.cancel-refused.ORDER_001", command.id(), &refused).await;
    pending.await.unwrap().0.is_problem(409, "order-already-confirmed");

    // The same request publishes nothing new, so no event comes, and the order's state decides.
    service.will_reply(GET, Ok(a_view(&an_order("ORDER_001"), "confirmed")));
    let (again, _) = waiting(&shop, &service, path, &json!({"reason": "again"}), "wait=20").await;
    again.await.unwrap().0.is_problem(409, "order-already-confirmed");
}

#[tokio::test]
async fn after_the_waiting_time_the_response_is_202() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    service.will_reply(GET, Ok(a_view(&an_order("ORDER_001"), "awaiting-stock")));
    let path = "/orders";
    let (pending, _) = waiting(&shop, &service, path, &an_order("ORDER_001"), "respond-async, wait=1").await;
    let (response, took) = pending.await.unwrap();
    assert_eq!(response.status, 202, "{response:?}");
    assert_eq!(response.body, json!({"orderId": "ORDER_001", "status": "accepted", "durability": "unsynced"}));
    assert_eq!(response.header("preference-applied"), Some("wait=1"));
    assert!(took > Duration::from_millis(950) && took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn without_an_order_service_or_a_wait_the_order_is_accepted() {
    let shop = Shop::start().await;
    for (prefer, applied) in [("wait=1", Some("wait=1")), ("wait=0", Some("wait=0")), ("return=minimal", None)] {
        let response =
            HttpResponse::of(shop.post("/orders", &an_order("ORDER_001")).header("prefer", prefer)).await;
        assert_eq!((response.status.as_u16(), response.header("preference-applied")), (202, applied));
    }
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_capped() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    service.will_reply(GET, Ok(a_view(&an_order("ORDER_001"), "confirmed")));
    let response =
        HttpResponse::of(shop.post("/orders", &an_order("ORDER_001")).header("prefer", "wait=86400")).await;
    assert_eq!((response.status.as_u16(), response.header("preference-applied")), (200, Some("wait=60")));
}
