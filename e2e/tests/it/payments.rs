//! Payments in a whole store: taken once, never beyond a limit, and in doubt for no longer than they may be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use demo::Component;
use futures::future::join_all;
use payment_service::entity::payment::{Column, Entity, Status};
use sea_orm::{ColumnTrait, Database, EntityTrait, QueryFilter};
use serde_json::json;

use crate::support::{Engine, World, order, order_of};

/// How often the service dies between an answer and its commit, unless `PAYMENT_KILLS` says otherwise.
const KILLS: u64 = 25;
/// Orders placed in each of its lives.
const ORDERS: u64 = 4;

/// It is killed a random moment after the provider's ledger has grown: some lives end behind the commit, and most of
/// them between what the provider did and the commit. The last are counted.
#[tokio::test]
async fn a_payment_service_killed_between_answer_and_commit_charges_each_order_once_at_most() {
    let wanted = std::env::var("PAYMENT_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut world = World::start_set(&[("PAYMENT_PROVIDER_TIMEOUT_MILLISECONDS", "1000")]).await;
    let units = 1_000_000;
    world.seed(&[("PRODUCT_001", units)]).await;
    let rates = json!({
        "mode": "random", "seed": 7, "ms": 20,
        "slow": 0.2, "decline": 0.05, "fail": 0.05, "answerThenDrop": 0.1, "dropBefore": 0.05
    });
    world.behave(rates).await;
    let (mut lives, mut hits) = (0, 0);
    while hits < wanted {
        assert!(lives < 5 * wanted + 20, "{hits} of {lives} deaths were between answer and commit");
        let known = world.ledger().await.len();
        live_and_die(&mut world, lives).await;
        lives += 1;
        hits += u64::from(in_doubt(&world, known).await);
        world.shop.start_component(Component::PaymentService).await.unwrap();
    }
    eprintln!("{lives} deaths, {hits} of them between answer and commit");
    world.behave(json!({"mode": "ok"})).await;
    world.shop.wait_until_ready(Component::PaymentService, &|_| {}).await.unwrap();
    world.settled().await;
    world.totals_reconcile(&[("PRODUCT_001", units)]).await;
    let orders = world.orders().await;
    assert_eq!(orders.len() as u64, lives * ORDERS);
    let ended = |status: &str| orders.iter().filter(|order| order["status"] == status).count() as u64;
    assert_eq!(ended("confirmed") + ended("cancelled"), lives * ORDERS);
    assert!(ended("confirmed") > lives && ended("cancelled") > 0, "too little happened to tell");
    for (subject, count) in world.counts("EVENTS", "payment.event.>").await {
        assert_eq!(count, 1, "{subject}");
    }
    world.all_is_well().await;
}

/// Places orders, cancels one of them, and kills the service when the provider has done something.
async fn live_and_die(world: &mut World, life: u64) {
    let random = (life + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let ledger = world.config().data.join("payment-provider.jsonl");
    let size = || std::fs::metadata(&ledger).map_or(0, |file| file.len());
    let before = size();
    let places = (0..ORDERS).map(|n| {
        let world = &*world;
        async move {
            let id = format!("ORDER_{life}_{n}");
            world.post("/orders", &order(&id, "PRODUCT_001", 1)).await;
            if n == life % (2 * ORDERS) {
                tokio::time::sleep(Duration::from_millis(random >> 57)).await;
                world.post(&format!("/orders/{id}/cancel"), &json!({})).await;
            }
        }
    });
    let grown = async {
        let start = Instant::now();
        while size() == before {
            assert!(start.elapsed() < Duration::from_secs(30), "the provider is asked nothing");
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    };
    // Which of its orders the ledger has grown by is as random as the moment.
    futures::future::join(join_all(places), async {
        grown.await;
        tokio::time::sleep(Duration::from_micros((random >> 40) % 25_000)).await;
        kill_by_id(world.shop.process(Component::PaymentService).unwrap());
    })
    .await;
    world.kill(Component::PaymentService).await;
}

/// SIGKILL, while the shop is borrowed.
fn kill_by_id(process: u32) {
    let killed = std::process::Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap();
    assert!(killed.success());
}

/// Says whether, since the ledger had that many entries, the provider took or gave back money of which the service,
/// which does not run, has no record.
async fn in_doubt(world: &World, known: usize) -> bool {
    let db = Database::connect(world.config().database_url(Component::PaymentService).unwrap()).await.unwrap();
    let asked = [Status::Capturing, Status::Voiding, Status::Refunding];
    let open = Entity::find().filter(Column::Status.is_in(asked)).all(&db).await.unwrap();
    db.close().await.unwrap();
    let entries = world.ledger().await;
    let done = entries[known..].iter().filter(|entry| entry["kind"] == "captured" || entry["kind"] == "refunded");
    // A capture names its order; the key of a refund begins with it.
    let orders = done.filter_map(|entry| entry["orderId"].as_str().or(entry["key"].as_str()?.split(':').next()));
    let orders: Vec<&str> = orders.collect();
    open.iter().any(|payment| orders.contains(&payment.order_id.as_str()))
}

/// The units of one product and the limits of three accounts, all of them short.
#[tokio::test]
async fn three_accounts_that_race_for_the_last_units_and_the_last_of_a_limit_never_get_more_than_there_is() {
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
    assert_eq!(world.stock("PRODUCT_001").await.0, 0, "who is declined leaves the units to those who wait");

    // Pieces for everybody: now only the limits decide.
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
    world.all_is_well().await;
}

/// Goes through the ledger and checks that no account was ever charged more than its limit; returns what each is
/// charged in the end.
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
async fn what_stays_in_doubt_is_resolved() {
    let world = World::start_set(&[("PAYMENT_PROVIDER_DEADLINE_SECONDS", "2")]).await;
    world.seed(&[("PRODUCT_001", 10)]).await;

    // The money is taken, and no answer ever comes: it is asked for until it says so.
    world.behave(json!({"mode": "answer-then-drop", "on": ["capture"]})).await;
    let placed = world.place_and_wait(&order("TAKEN", "PRODUCT_001", 1)).await;
    assert_eq!(placed.body["status"], "confirmed", "{placed:?}");
    assert_eq!(world.booked_for("TAKEN").await, (1, 0));

    // Nothing is taken, and no answer ever comes: the provider is told to take nothing any more.
    world.behave(json!({"mode": "drop-before", "on": ["capture"]})).await;
    let placed = world.place_and_wait(&order("SILENT", "PRODUCT_001", 1)).await;
    assert_eq!(placed.body["status"], "cancelled", "{placed:?}");
    assert_eq!(placed.body["reason"], json!({"code": "payment-declined", "reason": "provider-unavailable"}));
    assert_eq!(world.booked_for("SILENT").await, (0, 0));
    assert_eq!(world.ledger().await.last().unwrap()["kind"], "voided");
    world.settled().await;
    world.totals_reconcile(&[("PRODUCT_001", 10)]).await;
    world.all_is_well().await;
}
