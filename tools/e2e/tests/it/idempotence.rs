//! Idempotence: repeated requests and messages have one effect.

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures::StreamExt;
use reqwest::Method;
use serde_json::json;

use crate::support::{Engine, World, account, eventually, order, order_of, seed_order, send};

#[tokio::test]
async fn the_seed_may_be_loaded_repeatedly() {
    let world = World::start(Engine::Sqlite).await;
    let addresses = seed::Addresses {
        gateway_url: world.config().http_url(demo::Component::ApiGateway),
        inventory_url: world.config().http_url(demo::Component::InventoryService),
        sign_in: seed::SignIn::default(),
    };
    for _ in 0..2 {
        let mut reported = Vec::new();
        seed::load(&addresses, |step| reported.push(step.to_owned())).await.unwrap();
        let orders: Vec<&str> =
            reported.iter().filter(|step| step.starts_with("ORDER_")).map(String::as_str).collect();
        assert_eq!(
            orders,
            [
                "ORDER_001: confirmed",
                "ORDER_002: confirmed",
                "ORDER_003: cancelled (payment-declined)",
                "ORDER_004: awaiting-stock"
            ]
        );
        assert_eq!(world.stock("PRODUCT_001").await, (5, 5, 0));
        assert_eq!(world.stock("PRODUCT_002").await, (13, 2, 0));
    }
    world.assert_healthy().await;
}

#[tokio::test]
async fn an_order_placed_five_times_changes_stock_once_and_gets_five_equal_responses() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10), ("PRODUCT_002", 15)]).await;
    for key in [None, Some("\"my-key\"")] {
        let mut responses = Vec::new();
        for _ in 0..5 {
            let request = world.request(Method::POST, "/orders").json(&seed_order(0));
            let request = key.iter().fold(request, |request, key| request.header("idempotency-key", *key));
            let response = send(request).await;
            assert_eq!(response.status, 202, "{response:?}");
            assert_eq!(response.headers["location"], "/orders/ORDER_001");
            responses.push(response.body);
        }
        responses.dedup();
        assert_eq!(responses.len(), 1, "{responses:?}");
    }
    world.eventually_status("ORDER_001", "confirmed").await;
    world.settled().await;
    assert_eq!(world.stock("PRODUCT_001").await, (7, 3, 0));
    assert_eq!(world.stock("PRODUCT_002").await, (13, 2, 0));
    world.place_and_wait(&seed_order(1)).await;
    assert_eq!(world.stock("PRODUCT_001").await, (5, 5, 0));
    let history = world.get("/orders/ORDER_001/history").await.body;
    assert_eq!(history["events"].as_array().unwrap().len(), 3, "{history}");
    world.assert_healthy().await;
}

#[tokio::test]
async fn the_same_id_with_other_content_is_refused_and_nothing_changes() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    assert_eq!(world.place_and_wait(&order("ORDER_001", "PRODUCT_001", 3)).await.body["status"], "confirmed");
    let before = world.get("/orders/ORDER_001").await.body;

    let other = order("ORDER_001", "PRODUCT_001", 4);
    let waited = world.place_and_wait(&other).await;
    assert_eq!(waited.status, 422, "{waited:?}");
    // Without waiting it is accepted first, and refused by an event.
    let accepted = world.post("/orders", &order("ORDER_001", "PRODUCT_001", 5)).await;
    assert_eq!(accepted.status, 202);
    eventually("both are refused by an event", || async {
        let events = world.stream("EVENTS").await;
        let subjects = events.info_with_subjects("order.event.place-refused.ORDER_001").await.unwrap();
        let counted: Vec<_> = subjects.map(|subject| subject.unwrap().1).collect().await;
        counted == [2]
    })
    .await;
    assert_eq!(world.get("/orders/ORDER_001").await.body, before);
    assert_eq!(world.stock("PRODUCT_001").await, (7, 3, 0));
    world.assert_healthy().await;
}

#[tokio::test]
async fn an_idempotency_key_binds_to_its_payload() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    let restock = |quantity: u64| {
        let request = world.request(Method::POST, "/products/PRODUCT_001/restock");
        send(request.header("idempotency-key", "\"delivery-7\"").json(&json!({"quantity": quantity})))
    };
    for _ in 0..3 {
        assert_eq!(restock(5).await.status, 202);
    }
    assert_eq!(restock(6).await.status, 422);
    eventually("the units are there", || async { world.stock("PRODUCT_001").await.0 == 15 }).await;
    world.settled().await;
    assert_eq!(world.stock("PRODUCT_001").await, (15, 0, 0));
    world.assert_healthy().await;
}

/// The main test of idempotence: every message is published again, past the stream's own deduplication.
#[tokio::test]
async fn every_message_delivered_twice_changes_nothing() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 100), ("PRODUCT_002", 3)]).await;
    world.open_account("CUSTOMER_002", "tok_low", 5000).await;
    for n in 0..40 {
        let product = if n % 4 == 0 { "PRODUCT_002" } else { "PRODUCT_001" };
        let customer = if n % 3 == 0 { "CUSTOMER_002" } else { "CUSTOMER_001" };
        world.post("/orders", &order_of(customer, &format!("ORDER_{n}"), product, 1 + n % 3)).await;
        if n % 5 == 0 {
            world.post(&format!("/orders/ORDER_{n}/cancel"), &json!({})).await;
        }
    }
    world.post("/products/PRODUCT_002/restock", &json!({"quantity": 4})).await;
    let mut other = account("CUSTOMER_002", "tok_high", 6000);
    other.as_object_mut().unwrap().remove("customerId");
    let changed = world.request(Method::PUT, "/accounts/CUSTOMER_002").header("if-match", "\"1\"").json(&other);
    assert_eq!(send(changed).await.status, 200);
    world.settled().await;
    let state = async || {
        let mut reported = Vec::new();
        for customer in ["CUSTOMER_001", "CUSTOMER_002"] {
            let page = world.get(&format!("/customers/{customer}/notifications?limit=200")).await.body;
            // E-mail delivery times may still change.
            let items = page["items"].as_array().unwrap().iter();
            reported.extend(items.map(|item| (item["sequence"].clone(), item["eventId"].clone())));
        }
        (
            world.orders().await,
            world.get("/products").await.body,
            world.get("/accounts/CUSTOMER_002").await.body,
            world.ledger().await,
            reported,
            world.messages("EVENTS").await,
        )
    };
    let before = state().await;
    assert!(before.4.len() > 30, "{before:?}");

    let published_twice = publish_everything_again(&world).await;
    world.settled().await;
    let after = state().await;
    assert!(published_twice > 100, "{published_twice}");
    let republished_events = published_twice - world.messages("COMMANDS").await / 2;
    assert_eq!(after.5, before.5 + republished_events, "no message caused a second event");
    assert_eq!((after.0, after.1, after.2), (before.0, before.1, before.2));
    assert_eq!((after.3, after.4), (before.3, before.4));
    world.totals_reconcile(&[("PRODUCT_001", 100), ("PRODUCT_002", 7)]).await;
    world.assert_healthy().await;
}

/// Publishes each message of COMMANDS and EVENTS again without its `Nats-Msg-Id`; returns their number.
pub(crate) async fn publish_everything_again(world: &World) -> u64 {
    let mut total = 0;
    for stream in ["COMMANDS", "EVENTS"] {
        let stored = world.stream(stream).await;
        let count = stored.cached_info().state.messages;
        let config = pull::Config { deliver_policy: DeliverPolicy::All, ..Default::default() };
        let consumer = stored.create_consumer(config).await.unwrap();
        let mut messages = consumer.messages().await.unwrap().take(usize::try_from(count).unwrap());
        while let Some(message) = messages.next().await {
            let message = message.unwrap();
            let mut headers = async_nats::HeaderMap::new();
            for (name, values) in message.headers.as_ref().unwrap().iter() {
                if AsRef::<str>::as_ref(name) != "Nats-Msg-Id" {
                    headers.insert(name.clone(), values[0].clone());
                }
            }
            let producer = match message.subject.split('.').take(2).collect::<Vec<_>>()[..] {
                [_, "command"] => "api-gateway",
                ["order", _] => "order-service",
                ["account", _] => "account-service",
                ["payment", _] => "payment-service",
                _ => "inventory-service",
            };
            world.publish_as(producer, message.subject.as_str(), headers, message.payload.to_vec()).await;
            total += 1;
        }
    }
    total
}
