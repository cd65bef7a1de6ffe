//! `Prefer: wait` holds a response until the order is final.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::{Answer, FakeService, Shop, Stored, a_view, an_order, until};

const GET: &str = "order.query.get.ORDER_001";

/// Sends a request that waits, and returns once its command is stored and the order was queried.
async fn waiting(
    shop: &Shop,
    service: &FakeService,
    path: &str,
    body: &Value,
    prefer: &str,
) -> (JoinHandle<(Answer, Duration)>, Stored) {
    let (commands, queries) = (shop.commands().await.len(), service.queries().len());
    let request = shop.post(path, body).header("prefer", prefer);
    let answering = tokio::spawn(async move {
        let start = Instant::now();
        (Answer::of(request).await, start.elapsed())
    });
    until("the order is queried", || async { service.queries().len() > queries }).await;
    (answering, shop.commands().await[commands].clone())
}

async fn place(shop: &Shop, service: &FakeService) -> (JoinHandle<(Answer, Duration)>, Stored) {
    waiting(shop, service, "/orders", &an_order("ORDER_001"), "wait=20").await
}

#[tokio::test]
async fn a_confirmation_ends_the_wait_at_once() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let (answering, command) = place(&shop, &service).await;
    service.publish("order.event.placed.ORDER_001", command.id(), &an_order("ORDER_001")).await;
    let view = a_view(&an_order("ORDER_001"), "confirmed");
    service.will_reply(GET, Ok(view.clone()));
    let mut confirmed = an_order("ORDER_001");
    confirmed.as_object_mut().unwrap().remove("items");
    service.publish("order.event.confirmed.ORDER_001", command.id(), &confirmed).await;
    let (answer, took) = answering.await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &view), "{answer:?}");
    assert_eq!(answer.header("preference-applied"), Some("wait=20"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn an_order_that_is_final_already_is_returned_without_an_event() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let mut view = a_view(&an_order("ORDER_001"), "cancelled");
    view["reason"] = json!({"code": "unknown-product", "productIds": ["PRODUCT_002"]});
    service.will_reply(GET, Ok(view.clone()));
    let (answering, _) = place(&shop, &service).await;
    let (answer, took) = answering.await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &view), "{answer:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_lost_event_delays_the_response_by_seconds_only() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let (answering, _) = place(&shop, &service).await;
    service.will_reply(GET, Ok(a_view(&an_order("ORDER_001"), "confirmed")));
    let (answer, took) = answering.await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn only_the_refusal_of_the_own_command_counts() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let (answering, command) = place(&shop, &service).await;
    let refused = json!({"orderId": "ORDER_001", "reason": "id-already-used"});
    service.publish("order.event.place-refused.ORDER_001", Uuid::now_v7(), &refused).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!answering.is_finished());
    service.publish("order.event.place-refused.ORDER_001", command.id(), &refused).await;
    let (answer, _) = answering.await.unwrap();
    answer.is_problem(422, "order-id-already-used");
}

#[tokio::test]
async fn an_order_with_other_content_is_refused() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let mut other = a_view(&an_order("ORDER_001"), "confirmed");
    other["customerId"] = json!("CUSTOMER_002");
    service.will_reply(GET, Ok(other));
    let (answering, _) = place(&shop, &service).await;
    let (answer, took) = answering.await.unwrap();
    answer.is_problem(422, "order-id-already-used");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_cancellation_waits_until_the_order_is_cancelled() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let path = "/orders/ORDER_001/cancel";
    service.will_reply(GET, Ok(a_view(&an_order("ORDER_001"), "reserved")));
    let (answering, command) = waiting(&shop, &service, path, &json!({}), "wait=20").await;
    let mut view = a_view(&an_order("ORDER_001"), "cancelled");
    view["reason"] = json!({"code": "customer"});
    service.will_reply(GET, Ok(view.clone()));
    let event = json!({"orderId": "ORDER_001", "customerId": "CUSTOMER_001", "reason": {"code": "customer"}});
    service.publish("order.event.cancelled.ORDER_001", command.id(), &event).await;
    let (answer, took) = answering.await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &view), "{answer:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_confirmed_order_cannot_be_cancelled() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let path = "/orders/ORDER_001/cancel";
    let (answering, command) = waiting(&shop, &service, path, &json!({}), "wait=20").await;
    let refused = json!({"orderId": "ORDER_001", "reason": "already-confirmed"});
    service.publish("order.event.cancel-refused.ORDER_001", command.id(), &refused).await;
    answering.await.unwrap().0.is_problem(409, "order-already-confirmed");

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
    let (answering, _) = waiting(&shop, &service, path, &an_order("ORDER_001"), "respond-async, wait=1").await;
    let (answer, took) = answering.await.unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.body, json!({"orderId": "ORDER_001", "status": "accepted", "durability": "unsynced"}));
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert!(took > Duration::from_millis(950) && took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn without_an_order_service_or_a_wait_the_order_is_accepted() {
    let shop = Shop::start().await;
    for (prefer, applied) in [("wait=1", Some("wait=1")), ("wait=0", Some("wait=0")), ("return=minimal", None)] {
        let answer = Answer::of(shop.post("/orders", &an_order("ORDER_001")).header("prefer", prefer)).await;
        assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (202, applied));
    }
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_capped() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    service.will_reply(GET, Ok(a_view(&an_order("ORDER_001"), "confirmed")));
    let answer = Answer::of(shop.post("/orders", &an_order("ORDER_001")).header("prefer", "wait=86400")).await;
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (200, Some("wait=60")));
}
