//! Killed at random moments, and poisoned.

use std::time::Duration;

use async_nats::HeaderMap;
use demo::Member;
use futures::StreamExt;
use futures::stream;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Engine, World, eventually, order};

/// Orders placed while services are killed.
const ORDERS: u64 = 2000;
/// What a service's next kill waits for at the most, in milliseconds.
const LONGEST_LIFE: u64 = 900;

#[tokio::test]
async fn services_killed_at_random_lose_nothing_and_double_nothing_on_sqlite() {
    orders_under_kills(Engine::Sqlite).await;
}

#[tokio::test]
async fn services_killed_at_random_lose_nothing_and_double_nothing_on_postgresql() {
    orders_under_kills(Engine::Postgres).await;
}

async fn orders_under_kills(engine: Engine) {
    let mut world = World::start(engine).await;
    world.seed(&[("PRODUCT_001", 1500), ("PRODUCT_002", 4000)]).await;
    let http = world.http.clone();
    let url = format!("{}/orders", world.config().http_url(Member::ApiGateway));
    let customers = tokio::spawn(async move {
        stream::iter(0..ORDERS)
            .for_each_concurrent(8, |n| {
                let (http, url) = (http.clone(), url.clone());
                async move { place_until_accepted(&http, &url, n).await }
            })
            .await;
    });
    // A fixed sequence of lives, so that two runs do the same as far as processes can.
    let mut random = 42_u64;
    let mut kills = 0;
    while !customers.is_finished() || kills < 12 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_millis(100 + (random >> 33) % LONGEST_LIFE)).await;
        let member = Member::SERVICES[usize::try_from(random >> 40).unwrap() % 3];
        world.kill(member).await;
        world.store.start_member(member).await.unwrap();
        kills += 1;
    }
    customers.await.unwrap();
    for member in Member::SERVICES {
        world.store.wait_until_ready(member, &|_| {}).await.unwrap();
    }
    // 2000 orders want 2 of PRODUCT_001 each every other order, and 1 of PRODUCT_002 each: 500 pieces are missing.
    world.settled().await;
    let awaiting = world.get("/orders?status=awaiting-stock&limit=1").await;
    assert_eq!(awaiting.body["items"].as_array().unwrap().len(), 1, "{awaiting:?}");
    world.post("/products/PRODUCT_001/restock", &json!({"quantity": 500})).await;
    eventually("all orders are final", || async {
        for status in ["placed", "awaiting-stock", "reserved"] {
            let open = world.get(&format!("/orders?status={status}&limit=1")).await;
            if open.body["items"].as_array().is_none_or(|items| !items.is_empty()) {
                return false;
            }
        }
        true
    })
    .await;
    assert_eq!(world.stock("PRODUCT_001").await, (0, 2000, 0), "after {kills} kills");
    assert_eq!(world.stock("PRODUCT_002").await, (2000, 2000, 0), "after {kills} kills");
    assert_eq!(count_orders(&world).await, ORDERS);
    world.all_is_well().await;
}

/// Goes on until the order is accepted, as a client should: the same request, whatever became of the one before.
async fn place_until_accepted(http: &reqwest::Client, url: &str, n: u64) {
    let mut body = order(&format!("ORDER_{n}"), "PRODUCT_002", 1);
    if n.is_multiple_of(2) {
        body["items"]
            .as_array_mut()
            .unwrap()
            .push(json!({"productId": "PRODUCT_001", "quantity": 2, "unitPrice": 1}));
    }
    loop {
        let sent = http.post(url).json(&body).timeout(Duration::from_secs(10)).send().await;
        if sent.is_ok_and(|answer| answer.status() == 202) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn count_orders(world: &World) -> u64 {
    let (mut total, mut cursor) = (0, String::new());
    loop {
        let page = world.get(&format!("/orders?status=confirmed&limit=200{cursor}")).await.body;
        total += page["items"].as_array().unwrap().len() as u64;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return total,
        }
    }
}

#[tokio::test]
async fn poison_on_each_stream_becomes_a_dead_letter_and_its_neighbours_are_handled() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 100)]).await;
    let headers = |kind: &str, source: &str, key: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("ce-id", Uuid::now_v7().to_string());
        headers.insert("ce-type", kind);
        headers.insert("ce-source", source);
        headers.insert("ce-subject", key);
        headers.insert("ce-time", "2026-01-02T03:04:05Z");
        headers
    };
    let poison = [
        ("api-gateway", "order.command.place.P1", HeaderMap::new(), "order-service", "undecodable"),
        (
            "api-gateway",
            "order.command.place.P2",
            headers("order.place.v1", "/api-gateway", "P2"),
            "order-service",
            "undecodable",
        ),
        (
            "api-gateway",
            "order.command.bake.P3",
            headers("order.bake.v1", "/api-gateway", "P3"),
            "order-service",
            "undecodable",
        ),
        (
            "api-gateway",
            "inventory.command.restock.P4",
            headers("inventory.restock.v1", "/order-service", "P4"),
            "inventory-service",
            "foreign",
        ),
        ("inventory-service", "inventory.event.reserved.P5", HeaderMap::new(), "order-service", "undecodable"),
        (
            "order-service",
            "order.event.placed.P6",
            headers("order.placed.v1", "/api-gateway", "P6"),
            "inventory-service",
            "foreign",
        ),
        (
            "order-service",
            "order.event.placed.P7",
            headers("order.placed.v1", "/order-service", "P7"),
            "inventory-service",
            "undecodable",
        ),
    ];
    for (n, (user, subject, headers, _, _)) in poison.iter().enumerate() {
        world.post("/orders", &order(&format!("ORDER_{n}"), "PRODUCT_001", 1)).await;
        world.publish_as(user, subject, headers.clone(), b"{\"not\": \"it\"}".to_vec()).await;
    }
    for n in 0..poison.len() {
        world.eventually_status(&format!("ORDER_{n}"), "confirmed").await;
    }
    world.settled().await;
    let mut letters = world.stream("DEAD_LETTERS").await;
    assert_eq!(letters.cached_info().state.messages, poison.len() as u64);
    for (_, subject, _, service, reason) in &poison {
        let key = subject.rsplit('.').next().unwrap();
        let expected = format!("dead-letter.{service}.{reason}.{key}");
        let letter = letters.get_last_raw_message_by_subject(&expected).await.unwrap();
        assert_eq!(letter.payload.as_ref(), b"{\"not\": \"it\"}", "{expected}");
        assert_eq!(letter.headers.get("Dead-Letter-Subject").unwrap().as_str(), *subject);
        assert!(letter.headers.get("Dead-Letter-Detail").is_some_and(|detail| !detail.as_str().is_empty()));
    }
    letters.info().await.unwrap();
}
