//! The live feed: new events, or resumed after an event, across outages.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use choreography_test::nats::StreamCopy;
use contracts::topology::EVENTS;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::feed::Feed;
use crate::support::{FakeService, HttpResponse, Shop, provision, until};

impl Feed {
    /// Reads the next event: its sequence, its type, its data.
    async fn next(&mut self) -> (u64, String, Value) {
        loop {
            let fields = self.block(Duration::from_secs(10)).await;
            if let Some(data) = fields.get("data") {
                let data = serde_json::from_str(data).unwrap();
                let (_, sequence) = fields["id"].split_once('-').unwrap();
                self.last = fields["id"].clone();
                return (sequence.parse().unwrap(), fields["event"].clone(), data);
            }
        }
    }

    async fn sequences(&mut self, count: usize) -> Vec<u64> {
        let mut sequences = Vec::new();
        for _ in 0..count {
            sequences.push(self.next().await.0);
        }
        sequences
    }

    async fn stays_silent(&mut self) {
        let silent = tokio::time::timeout(Duration::from_millis(500), self.next()).await;
        assert!(silent.is_err(), "{silent:?}");
    }
}

async fn placed(service: &FakeService, order: &str) -> u64 {
    service.publish(&format!("order.event.placed.{order}"), Uuid::now_v7(), &json!({"orderId": order})).await
}

#[tokio::test]
async fn events_come_live_with_their_envelope() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    placed(&service, "ORDER_000").await;
    let mut feed = Feed::open(shop.get("/events")).await;
    let cause = Uuid::now_v7();
    let sequence = service.publish("order.event.placed.ORDER_001", cause, &json!({"orderId": "ORDER_001"})).await;
    let (id, name, mut data) = feed.next().await;
    assert_eq!((id, name.as_str()), (sequence, "order.placed.v1"));
    assert!(data["id"].take().as_str().is_some_and(|id| Uuid::parse_str(id).is_ok()));
    let expected = json!({
        "id": null, "type": "order.placed.v1", "source": "/order-service", "subject": "order.event.placed.ORDER_001",
        "key": "ORDER_001", "time": "2026-11-21T10:00:00Z", "correlationId": cause, "causationId": cause, "version": 1,
        "data": {"orderId": "ORDER_001"}
    });
    assert_eq!(data, expected);
}

#[tokio::test]
async fn a_feed_resumes_after_the_last_event() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    for order in ["ORDER_001", "ORDER_002", "ORDER_003"] {
        placed(&service, order).await;
    }
    let mut by_header = Feed::open(shop.get("/events").header("last-event-id", "1")).await;
    let mut by_query = Feed::open(shop.get("/events?lastEventId=0")).await;
    let mut header_counts = Feed::open(shop.get("/events?lastEventId=0").header("last-event-id", "2")).await;
    assert_eq!(by_header.sequences(2).await, [2, 3]);
    assert_eq!(by_query.sequences(3).await, [1, 2, 3]);
    assert_eq!(header_counts.sequences(1).await, [3]);
    let mut by_its_id = Feed::open(shop.get("/events").header("last-event-id", &header_counts.last)).await;
    placed(&service, "ORDER_004").await;
    assert_eq!(by_header.sequences(1).await, [4]);
    assert_eq!(by_its_id.sequences(1).await, [4]);
}

#[tokio::test]
async fn a_feed_of_a_recreated_stream_is_reset() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let mut before = Feed::open(shop.get("/events")).await;
    for order in ["ORDER_001", "ORDER_002"] {
        placed(&service, order).await;
    }
    before.sequences(1).await;
    let provisioner = jetstream::new(shop.connect("provisioner").await);
    provisioner.delete_stream(EVENTS).await.unwrap();
    provision(&shop.nats).await;
    // More events than the feed has read, so that its last sequence exists in both streams.
    let service = FakeService::orders(&shop).await;
    for order in ["ORDER_003", "ORDER_004", "ORDER_005"] {
        placed(&service, order).await;
    }
    let mut resumed = Feed::open(shop.get("/events").header("last-event-id", &before.last)).await;
    let mut beyond = Feed::open(shop.get("/events?lastEventId=77")).await;
    for feed in [&mut resumed, &mut beyond] {
        assert_eq!(feed.next().await, (3, "reset".to_owned(), json!({"reason": "recreated"})));
    }
    placed(&service, "ORDER_006").await;
    assert_eq!(resumed.next().await.0, 4);
    let mut again = Feed::open(shop.get("/events").header("last-event-id", &resumed.last)).await;
    // This feed was open all the time.
    while before.next().await.1 != "reset" {}
    placed(&service, "ORDER_007").await;
    for feed in [&mut resumed, &mut beyond, &mut again, &mut before] {
        while feed.next().await.0 != 5 {}
    }
}

#[tokio::test]
async fn a_feed_is_reset_when_the_stream_returns_to_an_earlier_state() {
    let mut shop = Shop::start().await;
    placed(&FakeService::orders(&shop).await, "ORDER_001").await;
    shop.nats.kill().unwrap();
    let earlier = StreamCopy::take(shop.nats.store_dir(), EVENTS).unwrap();
    shop.nats.restart().await.unwrap();
    let service = FakeService::orders(&shop).await;
    for order in ["ORDER_002", "ORDER_003", "ORDER_004"] {
        placed(&service, order).await;
    }
    shop.nats.kill().unwrap();
    let other = StreamCopy::take(shop.nats.store_dir(), EVENTS).unwrap();
    earlier.restore().unwrap();
    shop.nats.restart().await.unwrap();
    shop.until_ready().await;
    let mut feed = Feed::open(shop.get("/events?lastEventId=0")).await;
    placed(&FakeService::orders(&shop).await, "ORDER_005").await;
    assert_eq!(feed.sequences(2).await, [1, 2]);

    // Other events than the feed has read, and more.
    shop.nats.kill().unwrap();
    other.restore().unwrap();
    shop.nats.restart().await.unwrap();
    assert_eq!(feed.next().await, (4, "reset".to_owned(), json!({"reason": "recreated"})));
    placed(&FakeService::orders(&shop).await, "ORDER_006").await;
    assert_eq!(feed.sequences(1).await, [5]);
}

#[tokio::test]
async fn a_feed_is_reset_when_the_stream_has_dropped_unread_events() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    for order in ["ORDER_001", "ORDER_002", "ORDER_003", "ORDER_004"] {
        placed(&service, order).await;
    }
    let provisioner = jetstream::new(shop.connect("provisioner").await);
    provisioner.get_stream(EVENTS).await.unwrap().purge().sequence(3).await.unwrap();
    let mut feed = Feed::open(shop.get("/events?lastEventId=1")).await;
    assert_eq!(feed.next().await, (2, "reset".to_owned(), json!({"reason": "expired"})));
    assert_eq!(feed.sequences(2).await, [3, 4]);
    let mut complete = Feed::open(shop.get("/events?lastEventId=2")).await;
    assert_eq!(complete.sequences(2).await, [3, 4]);
}

#[tokio::test]
async fn any_last_event_id_is_accepted_or_reported() {
    let shop = Shop::start().await;
    let mut runner = TestRunner::default();
    let generated = prop_oneof![any::<String>(), "[-+ ]?[0-9]{0,21}", any::<u64>().prop_map(|id| id.to_string())];
    let generated = (0..100).map(|_| generated.new_tree(&mut runner).unwrap().current());
    let edges = [i64::MAX as u64 - 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX].map(|id| id.to_string());
    for id in generated.chain(edges) {
        let by_query = shop
            .http
            .get(Url::parse_with_params(&format!("{}/events", shop.base), [("lastEventId", &id)]).unwrap());
        let by_header = HeaderValue::from_str(&id).map(|id| shop.get("/events").header("last-event-id", id));
        for (request, place) in [(Some(by_query), "parameter"), (by_header.ok(), "header")] {
            let Some(request) = request else { continue };
            let response = request.send().await.unwrap();
            if response.status() != 200 {
                let response = HttpResponse::read(response).await;
                response.is_problem(400, "invalid-parameter");
                assert!(response.body["errors"][0][place].is_string(), "{id:?} {response:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_feed_of_one_order_has_its_events_of_all_services() {
    let shop = Shop::start().await;
    let orders = FakeService::orders(&shop).await;
    let inventory = FakeService::start(&shop, "inventory-service", "inventory").await;
    let mut feed = Feed::open(shop.get("/events?orderId=ORDER_002")).await;
    placed(&orders, "ORDER_001").await;
    placed(&orders, "ORDER_002").await;
    inventory.publish("inventory.event.reserved.ORDER_002", Uuid::now_v7(), &json!({"orderId": "ORDER_002"})).await;
    inventory.publish("inventory.event.reserved.ORDER_001", Uuid::now_v7(), &json!({"orderId": "ORDER_001"})).await;
    assert_eq!(feed.next().await.1, "order.placed.v1");
    assert_eq!(feed.next().await.1, "inventory.reserved.v1");
    feed.stays_silent().await;
}

#[tokio::test]
async fn a_feed_survives_a_restart_of_nats_without_loss_or_repetition() {
    let mut shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    placed(&service, "ORDER_001").await;
    let mut busy = Feed::open(shop.get("/events")).await;
    let mut silent = Feed::open(shop.get("/events")).await;
    placed(&service, "ORDER_002").await;
    assert_eq!(busy.next().await.0, 2);
    shop.nats.kill().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    shop.nats.restart().await.unwrap();
    let service = FakeService::orders(&shop).await;
    placed(&service, "ORDER_003").await;
    let start = Instant::now();
    assert_eq!(busy.next().await.0, 3);
    assert_eq!(silent.sequences(2).await, [2, 3]);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    busy.stays_silent().await;
}

#[tokio::test]
async fn many_events_arrive_in_order_even_if_the_client_reads_slowly() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let mut feed = Feed::open(shop.get("/events")).await;
    let text = "x".repeat(2000);
    for n in 0..2000 {
        let body = json!({"orderId": "ORDER_001", "text": text});
        service.publish(&format!("order.event.placed.ORDER_{n}"), Uuid::now_v7(), &body).await;
    }
    assert_eq!(feed.sequences(2000).await, (1..=2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_invalid_event_is_ignored() {
    let shop = Shop::start().await;
    let service = FakeService::orders(&shop).await;
    let mut feed = Feed::open(shop.get("/events")).await;
    let client = shop.connect("order-service").await;
    client.publish("order.event.placed.ORDER_000", "no headers, no JSON".into()).await.unwrap();
    client.flush().await.unwrap();
    let sequence = placed(&service, "ORDER_001").await;
    assert_eq!(feed.next().await.0, sequence);
}

#[tokio::test]
async fn a_silent_feed_is_kept_alive() {
    let shop = Shop::start().await;
    let mut feed = Feed::open(shop.get("/events")).await;
    let block = feed.block(Duration::from_secs(7)).await;
    assert_eq!(block.keys().collect::<Vec<_>>(), [""], "a comment");
}

#[tokio::test]
async fn connections_are_bounded_and_released() {
    let shop = Shop::start().await;
    let mut feeds = futures::future::join_all((0..256).map(|_| Feed::open(shop.get("/events")))).await;
    // One more connection than allowed would be a response that never ends.
    let refused = tokio::time::timeout(Duration::from_secs(20), HttpResponse::of(shop.get("/events"))).await;
    refused.unwrap().is_problem(503, "too-many-streams");
    let service = FakeService::orders(&shop).await;
    placed(&service, "ORDER_001").await;
    assert_eq!(feeds.last_mut().unwrap().next().await.0, 1);
    drop(feeds);
    until("a connection is free again", || async {
        shop.get("/events").send().await.is_ok_and(|response| response.status() == 200)
    })
    .await;
}

#[tokio::test]
async fn events_of_accounts_are_not_in_the_feed() {
    let shop = Shop::start().await;
    let (accounts, orders) =
        (FakeService::start(&shop, "account-service", "account").await, FakeService::orders(&shop).await);
    let mut all = Feed::open(shop.get("/events")).await;
    let mut one = Feed::open(shop.get("/events?orderId=SAME")).await;
    let body = json!({"contact": {"email": "ada@example.org"}});
    accounts.publish("account.event.changed.SAME", Uuid::new_v4(), &body).await;
    orders.publish("order.event.placed.SAME", Uuid::new_v4(), &json!({})).await;
    for feed in [&mut all, &mut one] {
        assert_eq!(feed.next().await.2["subject"], "order.event.placed.SAME");
    }
}
