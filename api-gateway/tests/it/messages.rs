//! Single messages of an order's timeline, and repeated commands.

use serde_json::json;
use uuid::Uuid;

use crate::support::{FakeService, HttpResponse, Shop, an_order};

#[tokio::test]
async fn a_message_has_its_headers_and_body() {
    let shop = Shop::start().await;
    assert_eq!(HttpResponse::of(shop.post("/orders", &an_order("ORDER_001"))).await.status, 202);
    let message = HttpResponse::of(shop.get("/orders/ORDER_001/messages/COMMANDS/1")).await;
    assert_eq!(message.status, 200);
    assert_eq!(message.body["subject"], "order.command.place.ORDER_001");
    assert_eq!((&message.body["stream"], &message.body["sequence"]), (&json!("COMMANDS"), &json!(1)));
    assert_eq!(message.body["headers"]["ce-type"], "order.place.v1");
    assert_eq!(message.body["headers"]["ce-id"], message.body["headers"]["Nats-Msg-Id"]);
    assert_eq!(message.body["body"]["items"], an_order("ORDER_001")["items"]);
    assert!(message.body["time"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_message_is_found_under_its_own_order_only() {
    let shop = Shop::start().await;
    let accounts = FakeService::start(&shop, "account-service", "account").await;
    let changed = json!({"customerId": "ORDER_001", "name": "called like an order"});
    let sequence = accounts.publish("account.event.changed.ORDER_001", Uuid::now_v7(), &changed).await;
    assert_eq!(HttpResponse::of(shop.post("/orders", &an_order("ORDER_001"))).await.status, 202);
    for path in [
        "/orders/ORDER_002/messages/COMMANDS/1".to_owned(),
        "/orders/ORDER_001/messages/COMMANDS/2".to_owned(),
        "/orders/ORDER_001/messages/TIMERS/1".to_owned(),
        format!("/orders/ORDER_001/messages/EVENTS/{sequence}"),
    ] {
        HttpResponse::of(shop.get(&path)).await.is_problem(404, "message-not-found");
    }
    for path in ["DEAD_LETTERS/1", "KV_IDEMPOTENCY/1", "COMMANDS/0", "COMMANDS/x", "COMMANDS/-1"] {
        let response = HttpResponse::of(shop.get(&format!("/orders/ORDER_001/messages/{path}"))).await;
        response.is_problem(400, "invalid-parameter");
    }
}

#[tokio::test]
async fn the_response_to_a_repeated_request_says_so() {
    let shop = Shop::start().await;
    let order = an_order("ORDER_001");
    let first = HttpResponse::of(shop.post("/orders", &order)).await;
    assert_eq!((first.status.as_u16(), first.header("idempotent-replayed")), (202, None));
    for _ in 0..4 {
        let again = HttpResponse::of(shop.post("/orders", &order)).await;
        assert_eq!((again.status.as_u16(), again.header("idempotent-replayed")), (202, Some("true")));
        assert_eq!(again.body, first.body);
    }
    assert_eq!(shop.commands().await.len(), 1);
}
