//! The inspector's permissions, and the API documentation page.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use crate::support::{CONSUMERS, Engine, World, order};

/// Sends the requests of the `nats` program for `sub`, `stream report`, `consumer report`, and `service ls`.
#[tokio::test]
async fn the_inspector_sees_the_whole_choreography() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    let inspector = world.connect_as("inspector").await;
    let mut flow = inspector.subscribe("*.*.*.ORDER_001").await.unwrap();
    // After a reply on the same connection, the subscription is active.
    inspector.request("$JS.API.INFO", "".into()).await.unwrap();
    world.place_and_wait(&order("ORDER_001", "PRODUCT_001", 3)).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|subject| subject != "order.event.confirmed.ORDER_001") {
        let message = tokio::time::timeout(Duration::from_secs(10), flow.next()).await.unwrap().unwrap();
        seen.push(message.subject.to_string());
    }
    seen.retain(|subject| !subject.contains(".query."));
    // These two have the same cause, so their order is arbitrary.
    seen[3..5].sort();
    assert_eq!(
        seen,
        [
            "order.command.place.ORDER_001",
            "order.event.placed.ORDER_001",
            "inventory.event.reserved.ORDER_001",
            "order.event.reserved.ORDER_001",
            "payment.event.captured.ORDER_001",
            "order.event.confirmed.ORDER_001",
        ]
    );

    let ask = async |subject: &str, body: &str| -> Value {
        let reply = inspector.request(subject.to_owned(), body.to_owned().into()).await.unwrap();
        serde_json::from_slice(&reply.payload).unwrap()
    };
    let streams = ask("$JS.API.STREAM.LIST", "{}").await;
    let names: Vec<&str> =
        streams["streams"].as_array().unwrap().iter().map(|s| s["config"]["name"].as_str().unwrap()).collect();
    for name in ["COMMANDS", "EVENTS", "TIMERS", "DEAD_LETTERS", "KV_IDEMPOTENCY"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for (stream, consumer) in CONSUMERS {
        let info = ask(&format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"), "").await;
        assert_eq!(info["config"]["durable_name"], consumer);
    }

    let inbox = inspector.new_inbox();
    let mut responses = inspector.subscribe(inbox.clone()).await.unwrap();
    inspector.publish_with_reply("$SRV.INFO", inbox, "".into()).await.unwrap();
    let mut services = Vec::new();
    while services.len() < 6 {
        let response = tokio::time::timeout(Duration::from_secs(10), responses.next()).await.unwrap().unwrap();
        let info: Value = serde_json::from_slice(&response.payload).unwrap();
        services.push(info["name"].as_str().unwrap().to_owned());
    }
    services.sort();
    assert_eq!(
        services,
        [
            "account-service",
            "inventory-service",
            "notification-service",
            "order-service",
            "payment-service",
            "projection-service"
        ]
    );
    world.assert_healthy().await;
}

#[tokio::test]
async fn the_openapi_page_loads_nothing_from_other_hosts() {
    let world = World::start(Engine::Sqlite).await;
    let page = world.get("/docs").await;
    assert_eq!(page.status, 200);
    let html = page.body.as_str().unwrap();
    for remote in ["src=\"http", "href=\"http", "src=\"//", "url(http"] {
        assert!(!html.contains(remote), "{remote}");
    }
    let openapi = world.get("/openapi.json").await;
    assert!(openapi.body["paths"]["/orders"]["post"].is_object());
}
