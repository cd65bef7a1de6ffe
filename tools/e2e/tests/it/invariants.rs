//! The consistency checks: they pass if the data is consistent, are unknown if a service is unavailable, and fail
//! with the key of a changed row.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use choreography::outbox::entity as outbox;
use choreography::outbox_pending::entity as outbox_pending;
use demo::Component;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, Database, DatabaseConnection, EntityTrait, IntoActiveModel,
    QueryFilter,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Engine, World, order};

/// The names of all checks.
const CHECKS: [&str; 9] = [
    "stock-conserved",
    "orders-reserved",
    "money-conserved",
    "provider-ledger",
    "orders-end",
    "handled-once",
    "outboxes",
    "consumers",
    "dead-letters",
];

async fn check(world: &World, name: &str) -> Value {
    let response = world.get("/invariants").await;
    assert_eq!(response.status, 200, "{response:?}");
    let checks = response.body["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{response:?}")).clone()
}

/// Waits until a check has a status, and returns it.
async fn until(world: &World, name: &str, status: &str) -> Value {
    let start = Instant::now();
    loop {
        let check = check(world, name).await;
        if check["status"] == status {
            return check;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{name} does not become {status}: {check:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn until_all_pass(world: &World) {
    for name in CHECKS {
        until(world, name, "pass").await;
    }
}

/// Waits until a check fails with that key alone.
async fn fails_with(world: &World, name: &str, key: &str) {
    let check = until(world, name, "fail").await;
    let keys: Vec<&str> = check["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|violation| violation["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, [key], "{check:#}");
}

/// Runs `choreo check`; returns its exit status and the violations, by check and key.
async fn board(world: &World) -> (Option<i32>, Vec<(String, String)>) {
    let reported = world.choreo(&["check"]).await;
    let board: Value = serde_json::from_slice(&reported.stdout).unwrap_or_else(|_| panic!("{reported:?}"));
    let checks = board["checks"].as_array().unwrap();
    assert_eq!(checks.iter().map(|check| check["name"].as_str().unwrap()).collect::<Vec<_>>(), CHECKS);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let violations = checks.iter().flat_map(|check| {
        let violations = check["violations"].as_array().unwrap();
        violations.iter().map(move |violation| (text(&check["name"]), text(&violation["key"])))
    });
    (reported.status.code(), violations.collect())
}

async fn database(world: &World, component: Component) -> DatabaseConnection {
    Database::connect(world.config().database_url(component).unwrap()).await.unwrap()
}

/// A shop with two confirmed orders, a cancelled one, and one that waits for stock.
async fn shop(engine: Engine) -> World {
    let world = World::start(engine).await;
    world.seed(&[("PRODUCT_001", 10), ("PRODUCT_002", 0)]).await;
    for id in ["ORDER_001", "ORDER_002"] {
        world.post("/orders", &order(id, "PRODUCT_001", 2)).await;
        world.eventually_status(id, "confirmed").await;
    }
    world.post("/products/PRODUCT_001/restock", &json!({"quantity": 5})).await;
    for id in ["ORDER_003", "ORDER_004"] {
        world.post("/orders", &order(id, "PRODUCT_002", 1)).await;
        world.eventually_status(id, "awaiting-stock").await;
    }
    world.post("/orders/ORDER_003/cancel", &json!({})).await;
    world.eventually_status("ORDER_003", "cancelled").await;
    world.settled().await;
    world
}

/// Changes a database with one statement, expects a violation, and reverts the change with another statement.
async fn doctored(world: &World, component: Component, statements: [&str; 2], name: &str, key: &str) {
    let database = database(world, component).await;
    database.execute_unprepared(statements[0]).await.unwrap();
    fails_with(world, name, key).await;
    database.execute_unprepared(statements[1]).await.unwrap();
    until(world, name, "pass").await;
}

async fn every_changed_row_is_reported(engine: Engine) {
    let world = shop(engine).await;
    until_all_pass(&world).await;
    assert_eq!(board(&world).await, (Some(0), Vec::new()));
    let open = check(&world, "orders-end").await;
    assert_eq!((&open["examined"], &open["waiting"][0]["key"]), (&json!(1), &json!("ORDER_004")), "{open:#}");
    assert!(open["waiting"][0]["what"].as_str().unwrap().contains("stock"), "{open:#}");
    let stock = [
        "UPDATE products SET available = available + 1 WHERE product_id = 'PRODUCT_001'",
        "UPDATE products SET available = available - 1 WHERE product_id = 'PRODUCT_001'",
        "UPDATE reservations SET status = 'released' WHERE order_id = 'ORDER_002'",
        "UPDATE reservations SET status = 'reserved' WHERE order_id = 'ORDER_002'",
        "UPDATE backorder_lines SET quantity = 7 WHERE order_id = 'ORDER_004'",
        "UPDATE backorder_lines SET quantity = 1 WHERE order_id = 'ORDER_004'",
    ];
    for (statements, product) in stock.chunks_exact(2).zip(["PRODUCT_001", "PRODUCT_001", "PRODUCT_002"]) {
        let statements = [statements[0], statements[1]];
        doctored(&world, Component::InventoryService, statements, "stock-conserved", product).await;
    }
    let allocations = [
        "UPDATE reservations SET lines = REPLACE(lines, ':2', ':3') WHERE order_id = 'ORDER_002'",
        "UPDATE reservations SET lines = REPLACE(lines, ':3', ':2') WHERE order_id = 'ORDER_002'",
        "UPDATE reservations SET order_id = 'ORDER_009' WHERE order_id = 'ORDER_002'",
        "UPDATE reservations SET order_id = 'ORDER_002' WHERE order_id = 'ORDER_009'",
        "UPDATE reservations SET status = 'reserved' WHERE order_id = 'ORDER_003'",
        "UPDATE reservations SET status = 'cancelled' WHERE order_id = 'ORDER_003'",
    ];
    for (statements, order_id) in allocations.chunks_exact(2).zip(["ORDER_002", "ORDER_002", "ORDER_003"]) {
        let statements = [statements[0], statements[1]];
        doctored(&world, Component::InventoryService, statements, "orders-reserved", order_id).await;
    }
    let reference = [
        "UPDATE payments SET reference = 'X' || reference WHERE order_id = 'ORDER_001'",
        "UPDATE payments SET reference = SUBSTR(reference, 2) WHERE order_id = 'ORDER_001'",
    ];
    doctored(&world, Component::PaymentService, reference, "provider-ledger", "ORDER_001").await;
    let exposure = ["UPDATE exposures SET amount = amount - 1", "UPDATE exposures SET amount = amount + 1"];
    doctored(&world, Component::PaymentService, exposure, "money-conserved", "CUSTOMER_001").await;
    let dearer = [
        "UPDATE order_views SET total_price = total_price + 1 WHERE order_id = 'ORDER_001'",
        "UPDATE order_views SET total_price = total_price - 1 WHERE order_id = 'ORDER_001'",
    ];
    doctored(&world, Component::OrderService, dearer, "money-conserved", "CUSTOMER_001").await;
    let [dearer, cheaper] = dearer;
    doctored(&world, Component::OrderService, [cheaper, dearer], "money-conserved", "CUSTOMER_001").await;
    let stuck = [
        "UPDATE order_views SET status = 'placed' WHERE order_id = 'ORDER_001'",
        "UPDATE order_views SET status = 'confirmed' WHERE order_id = 'ORDER_001'",
    ];
    doctored(&world, Component::OrderService, stuck, "orders-end", "ORDER_001").await;
    let unpaid = ["UPDATE order_views SET status = 'reserved' WHERE order_id = 'ORDER_001'", stuck[1]];
    doctored(&world, Component::OrderService, unpaid, "orders-end", "ORDER_001").await;
    let reported = [
        "UPDATE notifications SET order_id = 'ORDER_001' WHERE order_id = 'ORDER_002'",
        "UPDATE notifications SET order_id = 'ORDER_002' WHERE sequence = (SELECT MAX(sequence) FROM notifications \
         WHERE order_id = 'ORDER_001')",
    ];
    doctored(&world, Component::NotificationService, reported, "handled-once", "ORDER_001").await;
    until_all_pass(&world).await;
    world.assert_healthy().await;
}

#[tokio::test]
async fn every_changed_row_is_reported_on_sqlite() {
    every_changed_row_is_reported(Engine::Sqlite).await;
}

#[tokio::test]
async fn every_changed_row_is_reported_on_postgres() {
    every_changed_row_is_reported(Engine::Postgres).await;
}

#[tokio::test]
async fn duplicate_dead_lettered_pending_and_unhandled_messages_are_reported() {
    let world = shop(Engine::Sqlite).await;
    until_all_pass(&world).await;

    let orders = database(&world, Component::OrderService).await;
    let confirmed = outbox::Column::Subject.eq("order.event.confirmed.ORDER_002");
    let published = outbox::Entity::find().filter(confirmed).one(&orders).await.unwrap().unwrap();
    let again = Uuid::now_v7();
    outbox::Model { row_id: again, ..published.clone() }.into_active_model().insert(&orders).await.unwrap();
    fails_with(&world, "handled-once", "ORDER_002").await;
    outbox::Entity::delete_by_id(again).exec(&orders).await.unwrap();
    until(&world, "handled-once", "pass").await;

    let dead_letter = "dead-letter.order-service.rejected.ORDER_009";
    world.publish_as("order-service", dead_letter, HeaderMap::new(), b"{}".to_vec()).await;
    fails_with(&world, "dead-letters", "ORDER_009").await;
    assert_eq!(board(&world).await, (Some(1), vec![("dead-letters".to_owned(), "ORDER_009".to_owned())]));

    // It is paused, so it makes no progress.
    world.hold_back("EVENTS", "notification-service").await;
    world.post("/orders", &order("ORDER_005", "PRODUCT_001", 1)).await;
    world.eventually_status("ORDER_005", "confirmed").await;
    fails_with(&world, "consumers", "notification-service").await;
    world.let_go("EVENTS", "notification-service").await;
    until(&world, "consumers", "pass").await;

    // order-service has no permission to publish this subject, so the message stays pending.
    let millis = u128::try_from(time::OffsetDateTime::now_utc().unix_timestamp() - 60).unwrap() * 1000;
    let row_id = Uuid::from_u128((millis << 80) | 0x7000_8000_0000_0000_0000);
    let range = outbox_pending::Model { first_row_id: row_id, last_row_id: row_id, owner: None, refusal: None };
    let subject = "inventory.event.reserved.ORDER_001".to_owned();
    outbox::Model { row_id, subject, ..published }.into_active_model().insert(&orders).await.unwrap();
    range.into_active_model().insert(&orders).await.unwrap();
    fails_with(&world, "outboxes", "order-service").await;
}

#[tokio::test]
async fn an_inventory_restored_from_an_old_backup_is_reported() {
    let mut world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 10)]).await;
    let place = async |world: &World, id: &str| {
        world.post("/orders", &order(id, "PRODUCT_001", 2)).await;
        world.eventually_status(id, "confirmed").await;
        world.settled().await;
    };
    place(&world, "ORDER_001").await;
    let inventory = database(&world, Component::InventoryService).await;
    let backup = world.config().data.join("backup.sqlite");
    inventory.execute_unprepared(&format!("VACUUM INTO '{}'", backup.display())).await.unwrap();
    inventory.close().await.unwrap();
    place(&world, "ORDER_002").await;
    until_all_pass(&world).await;
    world.kill(Component::InventoryService).await;
    let file = world.config().data.join(format!("{}.sqlite", Component::InventoryService));
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
    std::fs::copy(&backup, &file).unwrap();
    world.start_again(Component::InventoryService).await;
    fails_with(&world, "orders-reserved", "ORDER_002").await;
    until(&world, "stock-conserved", "pass").await;
    assert_eq!(board(&world).await, (Some(1), vec![("orders-reserved".to_owned(), "ORDER_002".to_owned())]));
}

#[tokio::test]
async fn while_a_service_is_down_no_check_fails_and_orders_are_shown_to_wait_for_it() {
    let mut world = shop(Engine::Sqlite).await;
    until_all_pass(&world).await;
    world.kill(Component::InventoryService).await;
    for id in ["ORDER_005", "ORDER_006"] {
        world.post("/orders", &order(id, "PRODUCT_001", 1)).await;
        world.eventually_status(id, "placed").await;
    }
    let unsure = until(&world, "stock-conserved", "unknown").await;
    assert!(unsure["detail"].as_str().unwrap().contains("inventory-service does not run"), "{unsure:#}");
    let waiting = until(&world, "orders-end", "unknown").await;
    let keys: Vec<&Value> = waiting["waiting"].as_array().unwrap().iter().map(|order| &order["key"]).collect();
    assert_eq!(keys, ["ORDER_004", "ORDER_005", "ORDER_006"], "{waiting:#}");
    let behind = until(&world, "consumers", "unknown").await;
    assert!(behind["detail"].as_str().unwrap().contains("2 messages of EVENTS wait"), "{behind:#}");
    for _ in 0..5 {
        let board = world.get("/invariants").await.body;
        assert!(!board["checks"].as_array().unwrap().iter().any(|check| check["status"] == "fail"), "{board:#}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let state = overview_state(&world, |service| service["state"] == "unavailable").await;
    assert_eq!(state["backlog"], 2, "{state:#}");

    world.start_again(Component::InventoryService).await;
    for id in ["ORDER_005", "ORDER_006"] {
        world.eventually_status(id, "confirmed").await;
    }
    let state = overview_state(&world, |service| service["state"] == "running" && service["backlog"] == 0).await;
    assert_eq!(state["instances"], 1, "{state:#}");
    until_all_pass(&world).await;
    world.assert_healthy().await;
}

/// Follows the system overview until inventory-service meets a condition.
async fn overview_state(world: &World, condition: impl Fn(&Value) -> bool) -> Value {
    let url = format!("{}/overview", world.config().http_url(Component::ApiGateway));
    let mut response = world.http.get(url).send().await.unwrap();
    let (mut text, start) = (String::new(), Instant::now());
    loop {
        let chunk = tokio::time::timeout(Duration::from_secs(10), response.chunk()).await.unwrap();
        text += std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap();
        while let Some((block, rest)) = text.split_once("\n\n") {
            if let Some(data) = block.lines().find_map(|line| line.strip_prefix("data:")) {
                let data: Value = serde_json::from_str(data).unwrap();
                let mut services = data["services"].as_array().into_iter().flatten();
                if let Some(found) =
                    services.find(|service| service["name"] == "inventory-service" && condition(service))
                {
                    return found.clone();
                }
            }
            text = rest.to_owned();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the condition is not met");
    }
}
