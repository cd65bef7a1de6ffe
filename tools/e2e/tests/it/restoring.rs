//! The stream of events loses all or its last messages under load and is restored with the operator's program: the
//! outcome is as without the loss.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use choreography_test::nats::StreamCopy;
use demo::shop::nats_options;
use demo::{Component, ShopConfig};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::faults::until_accepted;
use crate::reconciliation::Recorded;
use crate::support::{Engine, World, eventually, order_of};

const ORDERS: u64 = 150;
const CUSTOMERS: [&str; 2] = ["CUSTOMER_001", "CUSTOMER_003"];

/// Returns an order. Orders of one product wait until it is restocked; the bank declines all payments of one
/// customer.
fn order_body(n: u64) -> Value {
    let customer = if n % 10 == 9 { CUSTOMERS[1] } else { CUSTOMERS[0] };
    order_of(customer, &format!("ORDER_{n}"), if waits(n) { "SHORT" } else { "PLENTY" }, 1)
}

fn waits(n: u64) -> bool {
    n.is_multiple_of(6)
}

/// Returns whether the customer cancels the waiting order.
fn is_cancelled(n: u64) -> bool {
    n.is_multiple_of(12)
}

/// The final state.
#[derive(Debug, PartialEq)]
struct Ending {
    /// Status and reason, by order.
    orders: BTreeMap<String, (Value, Value)>,
    stock: Vec<(u64, u64, u64)>,
    charges: BTreeMap<String, Recorded>,
    /// The notifications, by order and type, including duplicates.
    reported: Vec<(String, String)>,
    /// The subjects of the events about orders. An order whose payment arrives before its reservation emits no
    /// reserved event.
    events_about: BTreeSet<String>,
}

/// A message of the stream: its subject and its id.
type Published = (String, String);

/// Returns the events about orders, in the order of the stream.
async fn events_about(world: &World) -> Vec<Published> {
    let stream = world.stream("EVENTS").await;
    let (first, last) = (stream.cached_info().state.first_sequence, stream.cached_info().state.last_sequence);
    let messages: Vec<_> = stream::iter(first..=last)
        .map(|sequence| {
            let stream = &stream;
            async move { stream.direct_get(sequence).await.ok() }
        })
        .buffered(64)
        .collect()
        .await;
    let about_orders = messages.into_iter().flatten().filter(|message| message.subject.contains(".ORDER_"));
    about_orders
        .map(|message| (message.subject.to_string(), message.headers.get("ce-id").unwrap().as_str().to_owned()))
        .collect()
}

/// Returns the message ids by context and order, each at its first position.
fn by_order(events_about: &[Published]) -> BTreeMap<(&str, &str), Vec<&str>> {
    let mut by_order: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (subject, id) in events_about {
        let ids =
            by_order.entry((subject.split('.').next().unwrap(), subject.rsplit('.').next().unwrap())).or_default();
        if !ids.contains(&id.as_str()) {
            ids.push(id);
        }
    }
    by_order
}

/// Checks that all earlier messages are there, per order in the same order.
fn assert_nothing_is_lost(before: &[Published], after: &[Published]) {
    let (before, after) = (by_order(before), by_order(after));
    for (key, ids) in before {
        let now = after.get(&key).map_or(&[][..], Vec::as_slice);
        let again: Vec<&str> = now.iter().copied().filter(|id| ids.contains(id)).collect();
        assert_eq!(again, ids, "{key:?}");
    }
}

async fn start() -> World {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PLENTY", 1000), ("SHORT", 0)]).await;
    world.open_account(CUSTOMERS[1], "tok_decline", 1_000_000).await;
    world
}

/// Places all orders, and cancels some of them.
async fn customers(http: reqwest::Client, config: ShopConfig) {
    let url = &format!("{}/orders", config.http_url(Component::ApiGateway));
    let http = &http;
    stream::iter(0..ORDERS)
        .for_each_concurrent(4, |n| async move {
            until_accepted(http, url, &order_body(n)).await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        })
        .await;
    let cancelled = (0..ORDERS).filter(|n| is_cancelled(*n));
    stream::iter(cancelled)
        .for_each_concurrent(4, |n| async move {
            let url = format!("{url}/ORDER_{n}");
            eventually("it waits", || async {
                let asked = http.get(&url).send().await;
                let order = match asked {
                    Ok(asked) => asked.json::<Value>().await.unwrap_or_default(),
                    Err(_) => Value::Null,
                };
                order["status"] == "awaiting-stock"
            })
            .await;
            until_accepted(http, &format!("{url}/cancel"), &json!({"reason": "second thoughts"})).await;
        })
        .await;
}

/// Waits until the shop is at rest, and returns the final state.
async fn ending(world: &World) -> Ending {
    world.settled().await;
    world.post("/products/SHORT/restock", &json!({"quantity": 500})).await;
    world.settled().await;
    world.totals_reconcile(&[("PLENTY", 1000), ("SHORT", 500)]).await;
    world.assert_healthy().await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let orders = world.orders().await;
    let mut reported = Vec::new();
    for customer in CUSTOMERS {
        reported.extend(
            world
                .notifications(customer)
                .await
                .iter()
                .map(|reported| (text(&reported["orderId"]), text(&reported["type"]))),
        );
    }
    reported.sort();
    Ending {
        orders: orders
            .iter()
            .map(|order| (text(&order["orderId"]), (order["status"].clone(), order["reason"].clone())))
            .collect(),
        stock: vec![world.stock("PLENTY").await, world.stock("SHORT").await],
        charges: world.charges().await,
        reported,
        events_about: events_about(world)
            .await
            .into_iter()
            .map(|(subject, _)| subject)
            .filter(|subject| !subject.starts_with("order.event.reserved."))
            .collect(),
    }
}

async fn undisturbed() -> Ending {
    let world = start().await;
    customers(world.http.clone(), world.config()).await;
    ending(&world).await
}

async fn has_events(world: &World, count: u64) {
    eventually("there are events", || async { world.messages("EVENTS").await >= count }).await;
}

/// Runs the operator's program, and returns the last line of its output.
async fn restore(world: &World, arguments: &[&str]) -> Value {
    let config = world.config();
    let nats = nats_options(&config, "provisioner");
    let provisioned = Command::new(&config.program)
        .arg("provision")
        .env("NATS_URL", &nats.nats_url)
        .env("NATS_USER", "provisioner")
        .env("NATS_PASSWORD", nats.nats_password.unwrap())
        .output()
        .await
        .unwrap();
    assert!(provisioned.status.success(), "{provisioned:?}");
    let restored = world.choreo(&[&["streams", "restore", "EVENTS"], arguments].concat()).await;
    assert!(restored.status.success(), "{restored:?}");
    serde_json::from_str(String::from_utf8(restored.stdout).unwrap().lines().last().unwrap()).unwrap()
}

/// Returns the number of republished messages.
fn republished(reported: &Value) -> u64 {
    reported["summary"].as_array().unwrap().iter().map(|service| service["published"].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn deleting_and_restoring_the_stream_of_events_under_load_does_not_change_the_outcome() {
    let disturbed = async {
        let world = start().await;
        let load = tokio::spawn(customers(world.http.clone(), world.config()));
        has_events(&world, 200).await;
        let before = events_about(&world).await;
        world.jetstream().delete_stream("EVENTS").await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        let reported = restore(&world, &[]).await;
        assert!(republished(&reported) >= before.len() as u64, "{reported}");
        load.await.unwrap();
        let ending = ending(&world).await;
        assert_nothing_is_lost(&before, &events_about(&world).await);
        ending
    };
    let (disturbed, undisturbed) = tokio::join!(disturbed, undisturbed());
    assert_eq!(disturbed, undisturbed);
}

#[tokio::test]
async fn losing_and_restoring_messages_that_consumers_have_acknowledged_does_not_change_the_outcome() {
    let disturbed = async {
        let mut world = start().await;
        let load = tokio::spawn(customers(world.http.clone(), world.config()));
        has_events(&world, 150).await;
        world.kill(Component::NatsServer).await;
        let older = StreamCopy::take(&world.config().data.join("nats"), "EVENTS").unwrap();
        world.start_again(Component::NatsServer).await;
        let kept = world.stream("EVENTS").await.cached_info().state.last_sequence;
        has_events(&world, kept + 150).await;
        let before = events_about(&world).await;
        eventually("all consumers are ahead of the copy", || async {
            floor(&world).await.into_iter().min().unwrap() > kept
        })
        .await;
        // The consumers' state is written to the disk.
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.kill(Component::NatsServer).await;
        older.restore().unwrap();
        world.start_again(Component::NatsServer).await;
        let reported = restore(&world, &["--last", "15m"]).await;
        assert!(republished(&reported) > 0, "{reported}");
        load.await.unwrap();
        let ending = ending(&world).await;
        assert_nothing_is_lost(&before, &events_about(&world).await);
        ending
    };
    let (disturbed, undisturbed) = tokio::join!(disturbed, undisturbed());
    assert_eq!(disturbed, undisturbed);
}

/// Returns the ack floor of each consumer of the stream.
async fn floor(world: &World) -> Vec<u64> {
    let stream = world.stream("EVENTS").await;
    let mut floors = Vec::new();
    for consumer in ["order-service", "inventory-service", "payment-service"] {
        floors.push(stream.consumer_info(consumer).await.unwrap().ack_floor.stream_sequence);
    }
    floors
}
