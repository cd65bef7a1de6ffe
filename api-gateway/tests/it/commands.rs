//! A valid request becomes one command, and gets its response once JetStream has stored the command.

use choreography::Messages as _;
use contracts::inventory::InventoryCommand;
use contracts::order::OrderCommand;
use serde_json::json;
use uuid::Uuid;

use crate::support::{HttpResponse, Shop, an_order};

const TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_placed_order_is_a_command_in_its_envelope() {
    let shop = Shop::start().await;
    let order = an_order("ORDER_001");
    let response = HttpResponse::of(shop.post("/orders", &order).header("traceparent", TRACE_PARENT)).await;
    assert_eq!(response.status, 202, "{response:?}");
    assert_eq!(response.header("location"), Some("/orders/ORDER_001"));
    assert_eq!(response.header("preference-applied"), None);
    assert_eq!(response.body, json!({"orderId": "ORDER_001", "status": "accepted", "durability": "unsynced"}));

    let [command] = &shop.commands().await[..] else { panic!("one command") };
    assert_eq!(command.subject, "order.command.place.ORDER_001");
    assert_eq!(command.body, order);
    for (name, value) in [
        ("ce-type", "order.place.v1"),
        ("ce-source", "/api-gateway"),
        ("ce-subject", "ORDER_001"),
        ("ce-correlationid", &command.headers["ce-id"]),
        ("Nats-Msg-Id", &command.headers["ce-id"]),
        ("traceparent", TRACE_PARENT),
    ] {
        assert_eq!(command.headers[name], value, "{name}");
    }
    assert!(OrderCommand::decode("order.place.v1", command.body.to_string().as_bytes()).is_ok());
}

#[tokio::test]
async fn a_missing_total_is_computed_and_a_missing_id_is_generated() {
    let shop = Shop::start().await;
    let mut order = an_order("ORDER_001");
    order.as_object_mut().unwrap().retain(|name, _| name != "orderId" && name != "totalPrice");
    let request = || shop.post("/orders", &order).header("traceparent", "nonsense");
    let (first, second) = (HttpResponse::of(request()).await, HttpResponse::of(request()).await);
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (202, 202));
    assert_ne!(first.body["orderId"], second.body["orderId"]);
    let commands = shop.commands().await;
    assert_eq!(commands.len(), 2);
    assert_eq!(commands[0].body["orderId"], first.body["orderId"]);
    assert_eq!(commands[0].body["totalPrice"], 4000);
    assert!(!commands[0].headers.contains_key("traceparent"));
    assert_eq!(Uuid::parse_str(first.body["orderId"].as_str().unwrap()).unwrap().get_version_num(), 7);
}

#[tokio::test]
async fn an_order_is_cancelled_with_or_without_a_reason() {
    let shop = Shop::start().await;
    let bare = HttpResponse::of(shop.request("POST", "/orders/ORDER_001/cancel")).await;
    assert_eq!((bare.status.as_u16(), bare.header("location")), (202, Some("/orders/ORDER_001")), "{bare:?}");
    assert_eq!(bare.body, json!({"orderId": "ORDER_001", "status": "accepted", "durability": "unsynced"}));
    let reason = "changed my mind\n— “Zoë”";
    for body in [json!({}), json!({"reason": null}), json!({"reason": reason})] {
        assert_eq!(HttpResponse::of(shop.post("/orders/ORDER_001/cancel", &body)).await.status, 202);
    }
    let commands = shop.commands().await;
    // Without a reason it is the same command each time.
    assert_eq!(commands.len(), 2);
    assert_eq!(commands[0].subject, "order.command.cancel.ORDER_001");
    assert_eq!(commands[0].body, json!({"orderId": "ORDER_001"}));
    assert_eq!(commands[1].body, json!({"orderId": "ORDER_001", "reason": reason}));
    assert!(OrderCommand::decode("order.cancel.v1", commands[1].body.to_string().as_bytes()).is_ok());
}

#[tokio::test]
async fn a_restock_is_a_command_of_the_inventory() {
    let shop = Shop::start().await;
    let response = HttpResponse::of(shop.post("/products/PRODUCT_001/restock", &json!({"quantity": 5}))).await;
    assert_eq!((response.status.as_u16(), response.header("location")), (202, Some("/products/PRODUCT_001")));
    assert_eq!(
        response.body,
        json!({"productId": "PRODUCT_001", "quantity": 5, "status": "accepted", "durability": "unsynced"})
    );
    let [command] = &shop.commands().await[..] else { panic!("one command") };
    assert_eq!(command.subject, "inventory.command.restock.PRODUCT_001");
    assert!(InventoryCommand::decode("inventory.restock.v1", command.body.to_string().as_bytes()).is_ok());
}

#[tokio::test]
async fn the_largest_order_is_accepted() {
    let shop = Shop::start().await;
    let mut order = an_order(&"O".repeat(64));
    order["customerId"] = json!("C".repeat(64));
    order["items"] = json!(
        (0..100)
            .map(|n| json!({"productId": format!("{n:064}"), "quantity": 1_000_000, "unitPrice": 90_071_992}))
            .collect::<Vec<_>>()
    );
    order["totalPrice"] = json!(9_007_199_200_000_000_i64);
    let response = HttpResponse::of(shop.post("/orders", &order)).await;
    assert_eq!(response.status, 202, "{response:?}");
    assert_eq!(shop.commands().await[0].body, order);
}

#[tokio::test]
async fn the_gateway_ends_while_requests_wait() {
    let mut shop = Shop::start().await;
    let events = shop.get("/events").send().await.unwrap();
    let waiting =
        tokio::spawn(HttpResponse::of(shop.post("/orders", &an_order("ORDER_001")).header("prefer", "wait=60")));
    crate::support::until("the order is stored", || async { shop.commands().await.len() == 1 }).await;
    let took = shop.stop().await;
    assert!(took.as_secs() < 4, "{took:?}");
    assert_eq!(waiting.await.unwrap().status, 202);
    drop(events);
}
