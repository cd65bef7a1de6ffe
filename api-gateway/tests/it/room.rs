//! What an acknowledgement is worth, and what happens when there is no room for what would follow from one.

use async_nats::jetstream::{self, consumer::PullConsumer};
use contracts::topology::{COMMANDS, EVENTS};
use futures::StreamExt;
use messaging::durability::Level;
use serde_json::json;

use crate::support::{Answer, Store, an_order, nats, nats_like, until};

async fn taken(store: &Store, id: &str) -> Answer {
    Answer::of(store.post("/orders", &an_order(id))).await
}

#[tokio::test]
async fn while_a_service_is_too_far_behind_no_commands_are_taken_and_once_it_is_not_they_are_again() {
    let store = Store::set(nats().await, |config| config.max_backlog = 3);
    store.until_ready().await;
    for n in 0..4 {
        assert_eq!(taken(&store, &format!("ORDER_{n}")).await.status, 202);
    }
    until("the gateway refuses", || async { taken(&store, "ORDER_4").await.status == 503 }).await;
    taken(&store, "ORDER_4").await.is_problem(503, "overloaded");
    let stored = store.commands().await.len();
    taken(&store, "ORDER_4").await.is_problem(503, "overloaded");
    assert_eq!(store.commands().await.len(), stored, "nothing of a refused request is stored");
    // Questions are answered, and it says why commands are not.
    let ready = Answer::of(store.get("/readiness")).await;
    assert_eq!(ready.status, 200);
    let why = ready.body["checks"]["room"]["detail"].as_str().unwrap();
    assert!(why.contains("messages wait for order-service"), "{why}");

    let order_service = jetstream::new(store.connect("order-service").await);
    let stream = order_service.get_stream(COMMANDS).await.unwrap();
    let consumer: PullConsumer = stream.get_consumer("order-service").await.unwrap();
    let mut batch = consumer.fetch().max_messages(10).messages().await.unwrap();
    while let Some(Ok(message)) = batch.next().await {
        message.ack().await.unwrap();
    }
    until("commands are taken again", || async { taken(&store, "ORDER_4").await.status == 202 }).await;
}

#[tokio::test]
async fn while_a_stream_is_nearly_full_no_commands_are_taken() {
    let store = Store::start().await;
    let provisioner = jetstream::new(store.connect("provisioner").await);
    let mut config = provisioner.get_stream(EVENTS).await.unwrap().cached_info().config.clone();
    config.max_bytes = 10_000;
    provisioner.update_stream(&config).await.unwrap();
    let orders = jetstream::new(store.connect("order-service").await);
    for n in 0..10 {
        let body = vec![b' '; 900];
        orders.publish(format!("order.event.placed.ORDER_{n}"), body.into()).await.unwrap().await.unwrap();
    }
    until("the gateway refuses", || async { taken(&store, "ORDER_1").await.status == 503 }).await;
    taken(&store, "ORDER_1").await.is_problem(503, "overloaded");
    // What is under way still finds room.
    orders.publish("order.event.placed.ORDER_A", "".into()).await.unwrap().await.unwrap();
    config.max_bytes = 1_000_000;
    provisioner.update_stream(&config).await.unwrap();
    until("commands are taken again", || async { taken(&store, "ORDER_1").await.status == 202 }).await;
}

#[tokio::test]
async fn an_answer_says_what_it_is_worth_as_far_as_the_server_tells() {
    let nats = nats().await;
    let monitor = nats.monitor_url();
    let store = Store::set(nats, |config| config.durability.nats_monitor_url = vec![monitor]);
    store.until_ready().await;
    assert_eq!(taken(&store, "ORDER_1").await.body["durability"], "cached");
    let readiness = Answer::of(store.get("/readiness")).await;
    assert_eq!(readiness.body["checks"]["durability"], json!({"ok": true, "detail": "cached"}));
}

#[tokio::test]
async fn a_gateway_that_wants_more_than_the_server_gives_does_not_start_and_says_how_to_get_it() {
    for (level, how) in [(Level::Fsynced, "sync_interval: always"), (Level::Replicated, "three replicas")] {
        let mut store = Store::set(nats().await, |config| config.durability.minimum_durability = vec![level]);
        let why = store.ended().await;
        assert!(why.contains("\"cached\"") && why.contains(how), "{why}");
    }
}

#[tokio::test]
async fn a_server_that_syncs_before_it_acknowledges_is_recognised() {
    let conf = include_str!("../../../nats.conf").replace("sync_interval: 10s", "sync_interval: always");
    let file = std::env::temp_dir().join(format!("gateway-synced-{}.conf", std::process::id()));
    std::fs::write(&file, conf).unwrap();
    let nats = nats_like(&file).await;
    let monitor = nats.monitor_url();
    let store = Store::set(nats, |config| {
        config.durability.nats_monitor_url = vec![monitor];
        config.durability.minimum_durability = vec![Level::Fsynced];
    });
    store.until_ready().await;
    assert_eq!(taken(&store, "ORDER_1").await.body["durability"], "fsynced");
    std::fs::remove_file(file).unwrap();
}
