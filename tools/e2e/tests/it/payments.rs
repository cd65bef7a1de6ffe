//! Payments in a whole shop: captured once, never beyond a limit, and resolved if in doubt.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use demo::Component;
use futures::future::join_all;
use payment_service::entity::payment::{Column, Entity, Status};
use sea_orm::{ColumnTrait, Database, EntityTrait, QueryFilter};
use serde_json::json;

use crate::support::{Engine, World, order, order_of};

/// The number of kills between a response and its commit; `PAYMENT_KILLS` overrides it.
const KILLS: u64 = 25;
/// The number of orders placed between two kills.
const ORDERS: u64 = 4;

/// The service is killed at a random time after the provider's ledger has grown: sometimes after the commit, mostly
/// between the provider's response and the commit. Only the latter are counted.
#[tokio::test]
async fn a_payment_service_killed_between_response_and_commit_charges_each_order_at_most_once() {
    let min_kills = std::env::var("PAYMENT_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut world = World::start_set(&[("PAYMENT_PROVIDER_TIMEOUT_MILLISECONDS", "1000")]).await;
    let units = 1_000_000;
    world.seed(&[("PRODUCT_001", units)]).await;
    let rates = json!({
        "mode": "random", "seed": 7, "ms": 20,
        "slow": 0.2, "decline": 0.05, "fail": 0.05, "answerThenDrop": 0.1, "dropBefore": 0.05
    });
    world.behave(rates).await;
    let (mut kills, mut hits) = (0, 0);
    while hits < min_kills {
        assert!(kills < 5 * min_kills + 20, "{hits} of {kills} kills were between response and commit");
        let known = world.ledger().await.len();
        place_and_kill(&mut world, kills).await;
        kills += 1;
        hits += u64::from(in_doubt(&world, known).await);
        world.shop.start_component(Component::PaymentService).await.unwrap();
    }
    eprintln!("{kills} kills, {hits} of them between response and commit");
    world.behave(json!({"mode": "ok"})).await;
    world.shop.wait_until_ready(Component::PaymentService, &|_| {}).await.unwrap();
    world.settled().await;
    world.totals_reconcile(&[("PRODUCT_001", units)]).await;
    let orders = world.orders().await;
    assert_eq!(orders.len() as u64, kills * ORDERS);
    let ended = |status: &str| orders.iter().filter(|order| order["status"] == status).count() as u64;
    assert_eq!(ended("confirmed") + ended("cancelled"), kills * ORDERS);
    assert!(ended("confirmed") > kills && ended("cancelled") > 0, "too few orders of each kind");
    for (subject, count) in world.counts("EVENTS", "payment.event.>").await {
        assert_eq!(count, 1, "{subject}");
    }
    world.assert_healthy().await;
}

/// Places orders, cancels one of them, and kills the service after the provider's ledger has grown.
async fn place_and_kill(world: &mut World, round: u64) {
    let random = (round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let ledger = world.config().data.join("payment-provider.jsonl");
    let size = || std::fs::metadata(&ledger).map_or(0, |file| file.len());
    let before = size();
    let places = (0..ORDERS).map(|n| {
        let world = &*world;
        async move {
            let id = format!("ORDER_{round}_{n}");
            world.post("/orders", &order(&id, "PRODUCT_001", 1)).await;
            if n == round % (2 * ORDERS) {
                tokio::time::sleep(Duration::from_millis(random >> 57)).await;
                world.post(&format!("/orders/{id}/cancel"), &json!({})).await;
            }
        }
    });
    let grown = async {
        let start = Instant::now();
        while size() == before {
            assert!(start.elapsed() < Duration::from_secs(30), "the provider receives no request");
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    };
    // Which of its orders are in the ledger is as random as the time.
    futures::future::join(join_all(places), async {
        grown.await;
        tokio::time::sleep(Duration::from_micros((random >> 40) % 25_000)).await;
        kill_by_id(world.shop.process(Component::PaymentService).unwrap());
    })
    .await;
    world.kill(Component::PaymentService).await;
}

/// Sends SIGKILL while the shop is borrowed.
fn kill_by_id(process: u32) {
    let killed = std::process::Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap();
    assert!(killed.success());
}

/// Returns whether the provider captured or refunded, after the first `known` entries of its ledger, a payment that
/// the stopped service has not recorded.
async fn in_doubt(world: &World, known: usize) -> bool {
    let db = Database::connect(world.config().database_url(Component::PaymentService).unwrap()).await.unwrap();
    let asked = [Status::Capturing, Status::Voiding, Status::Refunding];
    let open = Entity::find().filter(Column::Status.is_in(asked)).all(&db).await.unwrap();
    db.close().await.unwrap();
    let entries = world.ledger().await;
    let done = entries[known..].iter().filter(|entry| entry["kind"] == "captured" || entry["kind"] == "refunded");
    // A capture has the order's id; the key of a refund begins with it.
    let orders = done.filter_map(|entry| entry["orderId"].as_str().or(entry["key"].as_str()?.split(':').next()));
    let orders: Vec<&str> = orders.collect();
    open.iter().any(|payment| orders.contains(&payment.order_id.as_str()))
}

/// One product with too few units, and three accounts with low limits.
#[tokio::test]
async fn accounts_that_race_for_the_last_units_and_limits_never_exceed_them() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 8)]).await;
    let limits = BTreeMap::from([("ANN", 3000), ("BOB", 2000), ("CLEO", 10_500)]);
    for (customer, limit) in &limits {
        world.open_account(customer, "tok_visa", *limit).await;
    }
    world.behave(json!({"mode": "slow", "ms": 20})).await;
    let places = (0..12).flat_map(|n| limits.keys().map(move |customer| (n, *customer))).map(|(n, customer)| {
        let order = order_of(customer, &format!("{customer}_{n}"), "PRODUCT_001", 1);
        let world = &world;
        async move { world.post("/orders", &order).await }
    });
    join_all(places).await;
    world.settled().await;
    world.totals_reconcile(&[("PRODUCT_001", 8)]).await;
    never_beyond(&world, &limits).await;
    assert_eq!(world.stock("PRODUCT_001").await.0, 0, "units of declined orders go to waiting orders");

    // Enough units for all: now only the limits decide.
    world.post("/products/PRODUCT_001/restock", &json!({"quantity": 100})).await;
    world.settled().await;
    world.totals_reconcile(&[("PRODUCT_001", 108)]).await;
    let taken = never_beyond(&world, &limits).await;
    assert_eq!(
        taken,
        BTreeMap::from([("ANN".to_owned(), 3000), ("BOB".to_owned(), 2000), ("CLEO".to_owned(), 10_000)])
    );
    assert!(
        world.orders().await.iter().all(|order| order["status"] == "confirmed" || order["status"] == "cancelled")
    );
    world.assert_healthy().await;
}

/// Checks by the ledger that no account was ever charged more than its limit; returns the final charges.
async fn never_beyond(world: &World, limits: &BTreeMap<&str, u64>) -> BTreeMap<String, u64> {
    let (mut taken, mut captures) = (BTreeMap::<String, u64>::new(), BTreeMap::new());
    for entry in world.ledger().await {
        match entry["kind"].as_str().unwrap() {
            "captured" => {
                let customer = entry["orderId"].as_str().unwrap().split('_').next().unwrap().to_owned();
                let amount = entry["amount"].as_u64().unwrap();
                let sum = taken.entry(customer.clone()).or_default();
                *sum += amount;
                assert!(*sum <= limits[customer.as_str()], "{customer} is charged {sum}");
                captures.insert(entry["reference"].clone().to_string(), (customer, amount));
            }
            "refunded" => {
                let (customer, amount) = &captures[&entry["reference"].to_string()];
                *taken.get_mut(customer).unwrap() -= amount;
            }
            _ => {}
        }
    }
    taken
}

#[tokio::test]
async fn payments_in_doubt_are_resolved() {
    let world = World::start_set(&[("PAYMENT_PROVIDER_DEADLINE_SECONDS", "2")]).await;
    world.seed(&[("PRODUCT_001", 10)]).await;

    // The amount is captured without any response: the lookup finds the capture.
    world.behave(json!({"mode": "answer-then-drop", "on": ["capture"]})).await;
    let placed = world.place_and_wait(&order("TAKEN", "PRODUCT_001", 1)).await;
    assert_eq!(placed.body["status"], "confirmed", "{placed:?}");
    assert_eq!(world.charges_of("TAKEN").await, (1, 0));

    // Nothing is captured without any response: the payment is voided.
    world.behave(json!({"mode": "drop-before", "on": ["capture"]})).await;
    let placed = world.place_and_wait(&order("SILENT", "PRODUCT_001", 1)).await;
    assert_eq!(placed.body["status"], "cancelled", "{placed:?}");
    assert_eq!(placed.body["reason"], json!({"code": "payment-declined", "reason": "provider-unavailable"}));
    assert_eq!(world.charges_of("SILENT").await, (0, 0));
    assert_eq!(world.ledger().await.last().unwrap()["kind"], "voided");
    world.settled().await;
    world.totals_reconcile(&[("PRODUCT_001", 10)]).await;
    world.assert_healthy().await;
}
