//! The whole service on a real nats-server.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, message::StreamMessage, stream::Stream};
use choreography::Publish as _;
use choreography::publisher::{Command, Publisher};
use choreography_test::free_port;
use choreography_test::nats::TestNats;
use clap::Parser;
use contracts::declaration::topology;
use contracts::topology::EVENTS;
use inventory_service::Config;
use inventory_service::stock::StockMessage;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database::{Engine, TestDatabase, begin_with};
use crate::given::{available, cancelled, placed, restock};
use crate::on_both_databases;

on_both_databases!(the_event_of_a_waiting_order_that_a_restock_serves_has_the_orders_correlation_id);

/// Publishes a message as its producer does, and returns its id.
pub(crate) async fn publish(js: &jetstream::Context, message: &StockMessage) -> Uuid {
    let id = Uuid::now_v7();
    let command = Command::new(id, message).unwrap();
    Publisher::new(js.clone(), message.info().producer).publish(command).await.unwrap();
    id
}

/// Waits for a message on a subject, and returns the last one.
async fn received(events: &Stream, subject: &str) -> StreamMessage {
    let start = Instant::now();
    loop {
        if let Ok(message) = events.get_last_raw_message_by_subject(subject).await {
            return message;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "timed out: {subject}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn header(message: &StreamMessage, name: &str) -> String {
    message.headers.get(name).unwrap().as_str().to_owned()
}

async fn the_event_of_a_waiting_order_that_a_restock_serves_has_the_orders_correlation_id(engine: Engine) {
    let (nats, database) = (TestNats::start().await.unwrap(), TestDatabase::new(engine).await);
    begin_with(&database.db, &available(&[("CUP", 2)])).await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    let js = jetstream::new(client.clone());
    topology().unwrap().provision(&js, 1).await.unwrap();
    let events = js.get_stream(EVENTS).await.unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let config = Config::parse_from([
        "inventory-service",
        "--nats-url",
        &nats.url(),
        "--database-url",
        &database.url,
        "--http-address",
        &address,
    ]);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(inventory_service::run(config, shutdown.clone()));

    let order = publish(&js, &placed("A", &[("CUP", 3)])).await;
    let backordered = received(&events, "inventory.event.backordered.A").await;
    assert_eq!(header(&backordered, "ce-causationid"), order.to_string());
    let restocking = publish(&js, &restock("CUP", 5)).await;
    let reserved = received(&events, "inventory.event.reserved.A").await;
    assert_eq!(header(&reserved, "ce-type"), "inventory.reserved.v1");
    assert_eq!(header(&reserved, "ce-source"), "/inventory-service");
    assert_eq!(header(&reserved, "ce-causationid"), restocking.to_string());
    assert_eq!(header(&reserved, "ce-correlationid"), order.to_string());
    assert_eq!(header(&reserved, "ce-aggregateversion"), "2");
    let body: Value = serde_json::from_slice(&reserved.payload).unwrap();
    assert_eq!(body, json!({"orderId": "A", "lines": [{"productId": "CUP", "quantity": 3}]}));

    let reply = client.request("inventory.query.product.CUP", "".into()).await.unwrap();
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    let units = ["available", "reserved", "backordered"].map(|name| reply[name].as_u64().unwrap());
    assert_eq!((&reply["productId"], units), (&json!("CUP"), [4, 3, 0]));
    let reply = client.request("inventory.query.products", "".into()).await.unwrap();
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(reply["items"][0]["productId"], "CUP");

    publish(&js, &cancelled("A")).await;
    received(&events, "inventory.event.released.A").await;
    publish(&js, &placed("B", &[("NONE", 1)])).await;
    received(&events, "inventory.event.refused.B").await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(choreography::outbox_pending::depth(&database.db).await.unwrap(), 0);
    assert_eq!(js.get_stream("DEAD_LETTERS").await.unwrap().cached_info().state.messages, 0);
}
