//! Back-pressure: accepted commands wait for a service that cannot write, and the gateway refuses more at a bound.

use std::time::Duration;

use demo::{Component, Databases};
use futures::{StreamExt, stream};
use reqwest::Method;
use sea_orm::{ConnectOptions, ConnectionTrait, Database};
use serde_json::Value;

use crate::support::{Engine, World, eventually, order, send};

/// The maximum number of commands that may wait for a service.
const MAX_BACKLOG: usize = 20;
/// The number of orders that wait while services are down.
const ORDERS: u64 = 2_000;
/// The memory limit of each process, in kibibytes; with debug assertions, as in tests.
const MEMORY: u64 = 200 * 1024;

/// Makes a service's PostgreSQL database read-only or writable, also for existing connections.
async fn read_only(world: &World, component: Component, read_only: bool) {
    let config = world.config();
    let Databases::Postgres(urls) = &config.databases else { panic!("the databases are not on PostgreSQL") };
    let url = &urls[&component];
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let mut options = ConnectOptions::new(url);
    options.max_connections(1);
    let database = Database::connect(options).await.unwrap();
    let mode = if read_only { "on" } else { "off" };
    let statement = format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = {mode}");
    let others = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    );
    for statement in ["SET default_transaction_read_only = off", &statement, &others] {
        database.execute_unprepared(statement).await.unwrap();
    }
}

/// Returns the peak memory of a process, in kibibytes.
fn peak_memory(world: &World, component: Component) -> u64 {
    let id = world.shop.process(component).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn place(world: &World, id: &str) -> (u16, Option<String>, Value) {
    let placed = send(world.request(Method::POST, "/orders").json(&order(id, "PRODUCT_001", 1))).await;
    let retry_after = placed.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (placed.status, retry_after, placed.body)
}

#[tokio::test]
async fn a_read_only_database_leads_to_503_at_the_gateway_and_accepted_orders_are_confirmed_later() {
    let mut config = World::on(Engine::Postgres).await;
    config.variables.push(("MAX_BACKLOG".to_owned(), MAX_BACKLOG.to_string()));
    let world = World::start_with(config).await;
    world.seed(&[("PRODUCT_001", 100_000)]).await;
    read_only(&world, Component::OrderService, true).await;

    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for n in 0..5_000 {
        let id = format!("ORDER_{n}");
        let (status, retry_after, body) = place(&world, &id).await;
        match status {
            202 => accepted.push(id),
            503 => {
                assert!(retry_after.is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
                assert_eq!(body["type"], "/problems/overloaded", "{body}");
                refused.push(id);
            }
            _ => panic!("{status} {body}"),
        }
        if refused.len() == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(refused.len(), 5, "{} were accepted", accepted.len());
    assert!(accepted.len() > MAX_BACKLOG);

    read_only(&world, Component::OrderService, false).await;
    for id in &accepted {
        world.eventually_status(id, "confirmed").await;
    }
    for id in &refused {
        assert_eq!(world.status(id).await, "404");
    }
    eventually("commands are accepted again", || async { place(&world, &refused[0]).await.0 == 202 }).await;
    world.eventually_status(&refused[0], "confirmed").await;
    world.assert_healthy().await;
}

#[tokio::test]
async fn a_backlog_costs_disk_and_not_memory() {
    let mut world = World::start(Engine::Sqlite).await;
    world.seed(&[("PRODUCT_001", 100_000)]).await;
    let down = [Component::InventoryService, Component::PaymentService, Component::NotificationService];
    for component in down {
        world.kill(component).await;
    }
    let placed = stream::iter(0..ORDERS).map(|n| {
        let world = &world;
        async move { place(world, &format!("ORDER_{n}")).await.0 }
    });
    let placed: Vec<u16> = placed.buffer_unordered(32).collect().await;
    assert!(placed.iter().all(|status| *status == 202));
    for component in down {
        world.start_again(component).await;
    }
    eventually("stock is reserved for all", || async { world.stock("PRODUCT_001").await.1 == ORDERS }).await;
    world.settled().await;
    assert_eq!(world.counts("EVENTS", "order.event.confirmed.*").await.len() as u64, ORDERS);
    for component in Component::ALL {
        let peak = peak_memory(&world, component);
        assert!(peak < MEMORY, "{component} had a peak of {peak} KiB");
    }
    world.assert_healthy().await;
}
