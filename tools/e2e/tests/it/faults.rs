//! Components killed at random, and poison messages.

use std::time::Duration;

use async_nats::HeaderMap;
use demo::Component;
use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::{Engine, World, eventually, order, order_of};

/// The number of orders placed while components are killed.
const ORDERS: u64 = 1500;
/// The maximum time between two kills, in milliseconds.
const MAX_LIFETIME: u64 = 700;
/// The minimum number of kills.
const MIN_KILLS: usize = 24;

#[tokio::test]
async fn components_killed_at_random_lose_and_duplicate_nothing_on_sqlite() {
    orders_under_kills(Engine::Sqlite).await;
}

#[tokio::test]
async fn components_killed_at_random_lose_and_duplicate_nothing_on_postgresql() {
    orders_under_kills(Engine::Postgres).await;
}

/// The customers: one with a high limit, one with a low limit, and one whose bank declines.
const CUSTOMERS: [(&str, &str, u64); 3] = [
    ("CUSTOMER_001", "tok_visa", 1_000_000_000),
    ("CUSTOMER_002", "tok_low", 50_000),
    ("CUSTOMER_003", "tok_decline", 1_000_000),
];

async fn orders_under_kills(engine: Engine) {
    let mut world = World::start(engine).await;
    world.seed(&[("PRODUCT_001", 300), ("PRODUCT_002", 4000)]).await;
    for (customer, token, limit) in &CUSTOMERS[1..] {
        world.open_account(customer, token, *limit).await;
    }
    let customers = customers(&world);
    // A fixed sequence of lifetimes, so that runs are as similar as processes allow.
    let mut random = 42_u64;
    let mut kills = 0;
    while !customers.is_finished() || kills < MIN_KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_millis(50 + (random >> 33) % MAX_LIFETIME)).await;
        // Each component in turn, in an order unrelated to their dependencies.
        let component = Component::ALL[5 * kills % Component::ALL.len()];
        world.kill(component).await;
        world.shop.start_component(component).await.unwrap();
        kills += 1;
    }
    customers.await.unwrap();
    eprintln!("{engine:?}: {kills} kills");
    for component in Component::ALL {
        world.shop.wait_until_ready(component, &|_| {}).await.unwrap();
    }
    world.settled().await;
    let products = [("PRODUCT_001", 300), ("PRODUCT_002", 4000)];
    world.totals_reconcile(&products).await;
    let orders = world.orders().await;
    assert_eq!(orders.len() as u64, ORDERS);
    for (customer, _, limit) in CUSTOMERS {
        let theirs =
            orders.iter().filter(|order| order["customerId"] == customer && order["status"] == "confirmed");
        let paid: u64 = theirs.map(|order| order["totalPrice"].as_u64().unwrap()).sum();
        assert!(paid <= limit, "{customer} has paid {paid}");
        assert_eq!(paid == 0, customer == "CUSTOMER_003");
    }
    world.search_is_current().await;
    let backordered = world.get("/orders?status=awaiting-stock&limit=1").await;
    assert_eq!(backordered.body["items"].as_array().unwrap().len(), 1, "{backordered:?}");
    world.post("/products/PRODUCT_001/restock", &json!({"quantity": 5000})).await;
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
    world.settled().await;
    world.totals_reconcile(&[("PRODUCT_001", 5300), ("PRODUCT_002", 4000)]).await;
    world.assert_healthy().await;
}

/// Eight concurrent customers place orders until all are accepted, and cancel some of them.
fn customers(world: &World) -> JoinHandle<()> {
    let http = world.http.clone();
    let url = format!("{}/orders", world.config().http_url(Component::ApiGateway));
    tokio::spawn(async move {
        stream::iter(0..ORDERS)
            .for_each_concurrent(8, |n| {
                let (http, url) = (http.clone(), url.clone());
                async move {
                    until_accepted(&http, &url, &order_number(n)).await;
                    if n.is_multiple_of(7) {
                        let cancel = format!("{url}/ORDER_{n}/cancel");
                        tokio::time::sleep(Duration::from_millis(n % 50)).await;
                        until_accepted(&http, &cancel, &json!({"reason": "second thoughts"})).await;
                    }
                }
            })
            .await;
    })
}

fn order_number(n: u64) -> Value {
    let customer = match n % 10 {
        0..8 => "CUSTOMER_001",
        8 => "CUSTOMER_002",
        _ => "CUSTOMER_003",
    };
    let mut body = order_of(customer, &format!("ORDER_{n}"), "PRODUCT_002", 1);
    if n.is_multiple_of(2) {
        let more = json!({"productId": "PRODUCT_001", "quantity": 2, "unitPrice": 1});
        body["items"].as_array_mut().unwrap().push(more);
    }
    body
}

/// Repeats a request until it is accepted, as a client should: the same request, whatever the previous result.
pub(crate) async fn until_accepted(http: &reqwest::Client, url: &str, body: &Value) {
    loop {
        let sent = http.post(url).json(body).timeout(Duration::from_secs(10)).send().await;
        if sent.is_ok_and(|response| response.status() == 202) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The user, the subject, the type and the source (`None` without an envelope), the consumers, and the reason of the
/// dead letter.
type Poison =
    (&'static str, &'static str, Option<(&'static str, &'static str)>, &'static [&'static str], &'static str);

const POISON: [Poison; 11] = [
    ("api-gateway", "order.command.place.P1", None, &["order-service"], "undecodable"),
    (
        "api-gateway",
        "order.command.place.P2",
        Some(("order.place.v1", "/api-gateway")),
        &["order-service"],
        "undecodable",
    ),
    (
        "api-gateway",
        "order.command.bake.P3",
        Some(("order.bake.v1", "/api-gateway")),
        &["order-service"],
        "undecodable",
    ),
    (
        "api-gateway",
        "inventory.command.restock.P4",
        Some(("inventory.restock.v1", "/order-service")),
        &["inventory-service"],
        "source-mismatch",
    ),
    (
        "inventory-service",
        "inventory.event.reserved.P5",
        None,
        &["order-service", "payment-service"],
        "undecodable",
    ),
    (
        "order-service",
        "order.event.placed.P6",
        Some(("order.placed.v1", "/api-gateway")),
        &["inventory-service", "payment-service"],
        "source-mismatch",
    ),
    (
        "order-service",
        "order.event.placed.P7",
        Some(("order.placed.v1", "/order-service")),
        &["inventory-service", "payment-service"],
        "undecodable",
    ),
    (
        "api-gateway",
        "account.command.create.P8",
        Some(("account.create.v1", "/api-gateway")),
        &["account-service"],
        "undecodable",
    ),
    (
        "account-service",
        "account.event.changed.P9",
        Some(("account.changed.v1", "/account-service")),
        &["payment-service", "notification-service"],
        "undecodable",
    ),
    (
        "payment-service",
        "payment.event.captured.P10",
        Some(("payment.captured.v1", "/api-gateway")),
        &["order-service"],
        "source-mismatch",
    ),
    (
        "payment-service",
        "payment.event.refunded.P11",
        Some(("payment.refunded.v1", "/payment-service")),
        &["notification-service"],
        "undecodable",
    ),
];

fn envelope(subject: &str, kind: &str, source: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("ce-id", Uuid::now_v7().to_string());
    headers.insert("ce-type", kind);
    headers.insert("ce-source", source);
    headers.insert("ce-subject", key_of(subject));
    headers.insert("ce-time", "2026-01-02T03:04:05Z");
    headers
}

fn key_of(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap()
}

/// The maximum size of a command, including its headers.
const LARGEST: usize = 262_144;

/// Publishes commands of the maximum size, bypassing the gateway: their follow-up must not get stuck.
async fn send_large_commands(world: &World) {
    let place = |id: &str| {
        let mut body = order(id, "PRODUCT_001", 1);
        body["totalPrice"] = 1000.into();
        (format!("order.command.place.{id}"), body)
    };
    let send = |subject: String, headers: HeaderMap, body: String| async move {
        world.publish_as("api-gateway", &subject, headers, body.into_bytes()).await;
    };
    let headers = |subject: &str| envelope(subject, "order.place.v1", "/api-gateway");
    // An order with much white space.
    let (subject, body) = place("PADDED");
    send(
        subject.clone(),
        headers(&subject),
        format!("{body}{}", " ".repeat(LARGEST - 1_000 - body.to_string().len())),
    )
    .await;
    // A trace context, which would be propagated, in headers of almost the maximum size.
    let (subject, body) = place("TRACED");
    let mut traced = headers(&subject);
    traced.insert("traceparent", "0".repeat(64_900));
    send(subject, traced, body.to_string()).await;
    // More lines than an order may have, for more units than exist.
    let (subject, mut body) = place("LONG");
    let line = json!({"productId": "PRODUCT_001", "quantity": 900_001, "unitPrice": 1});
    body["items"] = vec![line; 4_000].into();
    body["totalPrice"] = (4_000 * 900_001_u64).into();
    send(subject.clone(), headers(&subject), body.to_string()).await;
    // An unknown header with an undecodable body: the dead letter adds headers of its own.
    let (subject, _) = place("UNREADABLE");
    let mut unreadable = headers(&subject);
    unreadable.insert("x-unknown", "0".repeat(64_900));
    send(subject, unreadable, "x".repeat(LARGEST - 66_000)).await;
}

#[tokio::test]
async fn a_poison_message_on_each_stream_becomes_a_dead_letter_and_the_others_are_handled() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 100)]).await;
    for (n, (user, subject, envelope_fields, _, _)) in POISON.iter().enumerate() {
        world.post("/orders", &order(&format!("ORDER_{n}"), "PRODUCT_001", 1)).await;
        let headers = envelope_fields.map(|(kind, source)| envelope(subject, kind, source)).unwrap_or_default();
        world.publish_as(user, subject, headers, b"{\"not\": \"it\"}".to_vec()).await;
    }
    send_large_commands(&world).await;
    for n in 0..POISON.len() {
        world.eventually_status(&format!("ORDER_{n}"), "confirmed").await;
    }
    world.settled().await;
    for (id, status) in [("PADDED", "confirmed"), ("TRACED", "confirmed"), ("LONG", "404"), ("UNREADABLE", "404")] {
        assert_eq!(world.status(id).await, status, "{id}");
    }
    let (available, _, backordered) = world.stock("PRODUCT_001").await;
    assert_eq!(
        (available, backordered),
        (100 - POISON.len() as u64 - 2, 0),
        "nothing is reserved for invalid orders"
    );
    for status in world.shop.status().await {
        assert!(status.ready, "{status:?}");
    }
    let dead_letters = world.stream("DEAD_LETTERS").await;
    let received: usize = POISON.iter().map(|(_, _, _, services, _)| services.len()).sum();
    assert_eq!(dead_letters.cached_info().state.messages, received as u64 + 2);
    for key in ["LONG", "UNREADABLE"] {
        let expected = format!("dead-letter.order-service.undecodable.{key}");
        dead_letters.get_last_raw_message_by_subject(&expected).await.unwrap();
    }
    for (_, subject, _, services, reason) in &POISON {
        for service in *services {
            let expected = format!("dead-letter.{service}.{reason}.{}", key_of(subject));
            let dead_letter = dead_letters.get_last_raw_message_by_subject(&expected).await.unwrap();
            assert_eq!(dead_letter.payload.as_ref(), b"{\"not\": \"it\"}", "{expected}");
            assert_eq!(dead_letter.headers.get("Dead-Letter-Subject").unwrap().as_str(), *subject);
            assert!(
                dead_letter.headers.get("Dead-Letter-Detail").is_some_and(|detail| !detail.as_str().is_empty())
            );
        }
    }
}
