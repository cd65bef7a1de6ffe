//! The blockers in the timeline of a stuck order are the real ones.

use demo::Component;
use serde_json::Value;

use crate::support::{Engine, World, eventually, order};

/// Returns the blocked services of an order and the reasons, from `GET /orders/{id}/timeline`.
async fn blocked_on(world: &World, order: &str) -> Vec<(String, String)> {
    let timeline = world.get(&format!("/orders/{order}/timeline")).await;
    assert_eq!(timeline.status, 200, "{timeline:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let waits = timeline.body["blockedOn"].as_array().unwrap_or_else(|| panic!("{:?}", timeline.body));
    waits.iter().map(|wait| (text(&wait["service"]), text(&wait["what"]))).collect()
}

#[tokio::test]
async fn a_stuck_order_shows_its_blockers_and_a_terminal_one_has_none() {
    let mut world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 1)]).await;
    world.post("/orders", &order("ORDER_001", "PRODUCT_001", 2)).await;
    world.eventually_status("ORDER_001", "awaiting-stock").await;
    let waits = blocked_on(&world, "ORDER_001").await;
    assert!(waits.iter().any(|(service, what)| service == "inventory-service" && what.contains("PRODUCT_001")));

    world.kill(Component::PaymentService).await;
    world.post("/orders", &order("ORDER_002", "PRODUCT_001", 1)).await;
    world.post("/products/PRODUCT_001/restock", &serde_json::json!({"quantity": 5})).await;
    world.eventually_status("ORDER_002", "reserved").await;
    eventually("it waits for payment-service alone", || async {
        let waits = blocked_on(&world, "ORDER_002").await;
        !waits.is_empty()
            && waits.iter().all(|(service, _)| service == "payment-service" || service == "order-service")
    })
    .await;
    let waits = blocked_on(&world, "ORDER_002").await;
    assert!(waits.iter().any(|(service, what)| service == "payment-service" && what.contains("does not run")));

    world.start_again(Component::PaymentService).await;
    for id in ["ORDER_001", "ORDER_002"] {
        world.eventually_status(id, "confirmed").await;
        eventually("there is no blocker", || async { blocked_on(&world, id).await.is_empty() }).await;
    }
    world.assert_healthy().await;
}
