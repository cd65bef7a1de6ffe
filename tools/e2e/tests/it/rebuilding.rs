//! The payment service's account copies, lost and rebuilt in each of the three ways.

use demo::shop::nats_options;
use demo::{Component, ShopConfig};
use futures::future::join_all;
use payment_service::entity::account_copy::{Column, Entity, Model};
use reqwest::Method;
use sea_orm::{Database, EntityTrait, QueryOrder};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Engine, World, account, eventually, order, order_of, send};

/// The number of customers in addition to the first one.
const CUSTOMERS: u64 = 30;

/// Runs `payment-service rebuild` on a database, as an operator would.
async fn try_to_rebuild(config: &ShopConfig, database: &str, arguments: &[&str]) -> Result<(), String> {
    let nats = nats_options(config, Component::PaymentService.name());
    let ran = Command::new(&config.program)
        .args(["payment-service", "rebuild"])
        .args(arguments)
        .env("NATS_URL", nats.nats_url)
        .env("NATS_USER", nats.nats_user.unwrap())
        .env("NATS_PASSWORD", nats.nats_password.unwrap())
        .env("DATABASE_URL", database)
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8(ran.stderr).unwrap();
    if ran.status.success() { Ok(()) } else { Err(errors) }
}

async fn rebuild(config: &ShopConfig, database: &str, arguments: &[&str]) {
    try_to_rebuild(config, database, arguments).await.unwrap();
}

async fn copies(database: &str) -> Vec<Model> {
    let db = Database::connect(database).await.unwrap();
    let copies = Entity::find().order_by_asc(Column::CustomerId).all(&db).await.unwrap();
    db.close().await.unwrap();
    copies
}

/// Opens accounts, changes some of them up to twice, and deletes one.
async fn accounts_with_changes(world: &World) {
    join_all((0..CUSTOMERS).map(|n| async move {
        let customer = format!("C{n:02}");
        world.open_account(&customer, "tok_first", 1000 + n).await;
        for version in 1..=n % 3 {
            change(world, &customer, version, 2000 + n).await;
        }
    }))
    .await;
    let delete = world.request(Method::DELETE, "/accounts/C00").header("if-match", "\"1\"");
    assert_eq!(send(delete).await.status, 204);
}

async fn change(world: &World, customer: &str, version: u64, limit: u64) {
    let mut details = account(customer, "tok_changed", limit);
    details.as_object_mut().unwrap().remove("customerId");
    let put = world.request(Method::PUT, &format!("/accounts/{customer}"));
    let changed = send(put.header("if-match", format!("\"{version}\"")).json(&details)).await;
    assert_eq!(changed.status, 200, "{changed:?}");
}

#[tokio::test]
async fn a_new_payment_database_rebuilt_in_each_of_three_ways_equals_the_old_one() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 1000)]).await;
    accounts_with_changes(&world).await;
    world.place_and_wait(&order("ORDER_001", "PRODUCT_001", 1)).await;
    world.settled().await;
    let config = world.config();
    let old = copies(&config.database_url(Component::PaymentService).unwrap()).await;
    assert_eq!(old.len() as u64, CUSTOMERS + 1);
    let fresh = |name: &str| format!("sqlite://{}/{name}.sqlite?mode=rwc", config.data.display());

    rebuild(&config, &fresh("replay"), &["replay"]).await;
    assert_eq!(copies(&fresh("replay")).await, old);

    // A query does not return the deleted account; all others are fetched.
    let ids: Vec<&str> = old.iter().map(|copy| copy.customer_id.as_str()).collect();
    rebuild(&config, &fresh("fetch"), &[&["fetch"], ids.as_slice()].concat()).await;
    let alive: Vec<Model> = old.iter().filter(|copy| !copy.deleted).cloned().collect();
    assert_eq!(copies(&fresh("fetch")).await, alive);

    // The stream is no longer complete.
    world.stream("EVENTS").await.purge().filter("account.event.>").await.unwrap();
    let refused = try_to_rebuild(&config, &fresh("emptied"), &["replay"]).await.unwrap_err();
    assert!(refused.contains("EVENTS is incomplete") && refused.contains("rebuild snapshot"), "{refused}");
    assert_eq!(copies(&fresh("emptied")).await, []);
    rebuild(&config, &fresh("snapshot"), &["snapshot"]).await;
    assert_eq!(copies(&fresh("snapshot")).await, old);
    world.assert_healthy().await;
}

#[tokio::test]
async fn lost_copies_of_a_running_payment_service_are_rebuilt_while_accounts_and_orders_change() {
    let world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 1000)]).await;
    accounts_with_changes(&world).await;
    world.settled().await;
    let config = world.config();
    let database = config.database_url(Component::PaymentService).unwrap();
    for (round, way) in [["replay"], ["snapshot"], ["fetch"]].iter().enumerate() {
        let db = Database::connect(&database).await.unwrap();
        Entity::delete_many().exec(&db).await.unwrap();
        db.close().await.unwrap();
        // These orders wait for unknown accounts.
        let orders = (1..CUSTOMERS).map(|n| {
            let order = order_of(&format!("C{n:02}"), &format!("ORDER_{round}_{n}"), "PRODUCT_001", 1);
            let world = &world;
            async move { world.post("/orders", &order).await }
        });
        join_all(orders).await;
        eventually("all wait", || async {
            let waiting = (1..CUSTOMERS).map(|n| world.payment_of(round, n));
            join_all(waiting).await.iter().all(|status| status == "awaiting-account")
        })
        .await;
        let version = |n: u64| 1 + n % 3 + round as u64;
        let changes = (1..CUSTOMERS).map(|n| {
            let world = &world;
            async move { change(world, &format!("C{n:02}"), version(n), 50_000 + 1000 * round as u64 + n).await }
        });
        futures::future::join(rebuild(&config, &database, way), join_all(changes)).await;
        world.settled().await;
        for copy in copies(&database).await.iter().filter(|copy| copy.customer_id.starts_with('C') && !copy.deleted)
        {
            let truth = world.get(&format!("/accounts/{}", copy.customer_id)).await;
            assert_eq!(truth.headers["etag"], format!("\"{}\"", copy.version).as_str(), "{way:?}: {copy:?}");
            assert_eq!(truth.body["creditLimit"]["amount"], json!(copy.limit_amount), "{way:?}: {copy:?}");
        }
    }
    world.totals_reconcile(&[("PRODUCT_001", 1000)]).await;
    let ended: Vec<Value> = world.orders().await;
    assert!(ended.iter().all(|order| order["status"] == "confirmed"), "{ended:?}");
    world.assert_healthy().await;
}

impl World {
    async fn payment_of(&self, round: usize, n: u64) -> String {
        self.payment(&format!("ORDER_{round}_{n}")).await
    }
}
