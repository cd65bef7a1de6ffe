//! The system overview: services, backlogs, and a sample of the messages.

use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::{self, consumer};
use contracts::topology::EVENTS;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::feed::Feed;
use crate::support::{FakeService, HttpResponse, Shop, an_order, until};

impl Feed {
    /// Reads the next frame: its event and its data.
    async fn frame(&mut self) -> (String, Value) {
        loop {
            let fields = self.block(Duration::from_secs(10)).await;
            if let Some(data) = fields.get("data") {
                return (fields["event"].clone(), serde_json::from_str(data).unwrap());
            }
        }
    }

    /// Reads states until one meets the condition.
    async fn state_where(&mut self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let (event, data) = self.frame().await;
            if event == "state" && condition(&data) {
                return data;
            }
            assert!(Instant::now() < deadline, "no state shows that {what}: {data:#}");
        }
    }

    /// Reads samples until they have at least `count` messages.
    async fn messages(&mut self, count: usize) -> Vec<Value> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let (event, data) = self.frame().await;
            if event == "messages" {
                assert_eq!(data["shown"], data["messages"].as_array().unwrap().len());
                messages.extend(data["messages"].as_array().unwrap().clone());
            }
        }
        messages
    }
}

/// Replies to pings like one instance of a service, until it is aborted.
async fn presence(client: Client, name: &'static str) -> JoinHandle<()> {
    let mut pings = client.subscribe(format!("$SRV.PING.{name}")).await.unwrap();
    client.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(ping) = pings.next().await {
            client.publish(ping.reply.unwrap(), "{}".into()).await.unwrap();
        }
    })
}

fn service<'a>(state: &'a Value, name: &str) -> &'a Value {
    state["services"].as_array().unwrap().iter().find(|service| service["name"] == name).unwrap()
}

#[tokio::test]
async fn the_first_state_has_all_services_and_streams() {
    let shop = Shop::start().await;
    let one = presence(shop.connect("order-service").await, "order-service").await;
    let other = presence(shop.connect("order-service").await, "order-service").await;
    let start = Instant::now();
    let mut feed = Feed::open(shop.get("/overview")).await;
    let (event, state) = feed.frame().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!((event.as_str(), &state["broker"]), ("state", &json!("running")));
    // The server may learn of a subscription, and an instance may reply, after that.
    let both = |state: &Value| service(state, "order-service")["instances"] == 2;
    let state = if both(&state) { state } else { feed.state_where("both run", both).await };
    let names: Vec<&str> =
        state["services"].as_array().unwrap().iter().map(|service| service["name"].as_str().unwrap()).collect();
    let expected = [
        "api-gateway",
        "account-service",
        "inventory-service",
        "notification-service",
        "order-service",
        "payment-service",
        "projection-service",
    ];
    assert_eq!(names, expected);
    assert_eq!(service(&state, "api-gateway")["state"], "running");
    assert_eq!(service(&state, "payment-service")["state"], "unavailable");
    let expected = json!({
        "name": "order-service", "state": "running", "instances": 2, "backlog": 0, "unacknowledged": 0,
        "redelivered": 0
    });
    assert_eq!(*service(&state, "order-service"), expected);
    let streams: Vec<&str> =
        state["streams"].as_array().unwrap().iter().map(|stream| stream["name"].as_str().unwrap()).collect();
    assert_eq!(streams, ["COMMANDS", "EVENTS", "TIMERS", "DEAD_LETTERS"]);
    let edge = json!({
        "from": "order-service", "to": "inventory-service", "type": "order.placed.v1", "kind": "event",
        "perSecond": 0.0
    });
    assert!(state["edges"].as_array().unwrap().contains(&edge), "{state:#}");
    assert_eq!(state["orders"]["latencyMilliseconds"], json!({"p50": null, "p99": null}));

    // Its connection is closed, so the server reports no responder.
    for instance in [one, other] {
        instance.abort();
        assert!(instance.await.unwrap_err().is_cancelled());
    }
    feed.state_where("order-service is down", |state| service(state, "order-service")["state"] == "unavailable")
        .await;
}

#[tokio::test]
async fn messages_have_producer_and_consumers_and_no_body() {
    let shop = Shop::start().await;
    let orders = FakeService::orders(&shop).await;
    let mut feed = Feed::open(shop.get("/overview")).await;
    feed.frame().await;
    assert_eq!(HttpResponse::of(shop.post("/orders", &an_order("ORDER_001"))).await.status, 202);
    let published = Uuid::now_v7();
    orders.publish("order.event.placed.ORDER_001", published, &json!({"secret": "of the body"})).await;
    orders.publish("order.event.confirmed.ORDER_001", published, &json!({})).await;
    let messages = feed.messages(3).await;
    assert!(!format!("{messages:?}").contains("secret"), "{messages:#?}");
    let shown = |message: &Value| json!([message["type"], message["kind"], message["source"], message["to"]]);
    let mut seen: Vec<Value> = messages.iter().map(shown).collect();
    seen.sort_by_key(ToString::to_string);
    let expected = json!([
        ["order.confirmed.v1", "event", "order-service", ["notification-service"]],
        ["order.place.v1", "command", "api-gateway", ["order-service"]],
        ["order.placed.v1", "event", "order-service", ["inventory-service", "payment-service"]],
    ]);
    assert_eq!(json!(seen), expected);
    let placed = messages.iter().find(|message| message["type"] == "order.placed.v1").unwrap();
    assert_eq!(placed["stream"], EVENTS);
    assert_eq!((&placed["sequence"], &placed["key"]), (&json!(1), &json!("ORDER_001")));
    assert_eq!((&placed["correlationId"], &placed["causationId"]), (&json!(published), &json!(published)));
    assert_eq!(placed["subject"], "order.event.placed.ORDER_001");

    let state = feed.state_where("an order is final", |state| state["orders"]["finals"] == 1).await;
    assert!(state["orders"]["latencyMilliseconds"]["p99"].as_f64().unwrap() < 5000.0, "{state:#}");
    assert_eq!(service(&state, "order-service")["backlog"], 1);
    assert_eq!(service(&state, "notification-service")["backlog"], 1);
    let edges = state["edges"].as_array().unwrap();
    let rates = edges.iter().filter(|edge| edge["perSecond"].as_f64().unwrap() > 0.0).count();
    assert_eq!(rates, 4, "{state:#}");

    // The consumer of a projection is one of its service.
    let config = consumer::pull::Config {
        durable_name: Some("sales-v1".to_owned()),
        // With one filter, its subject would be a part of the request's.
        filter_subjects: vec!["order.event.>".to_owned()],
        ack_policy: consumer::AckPolicy::None,
        ..Default::default()
    };
    let js = jetstream::new(shop.connect("projection-service").await);
    let _: consumer::PullConsumer = js.create_consumer_on_stream(config, EVENTS).await.unwrap();
    let is_behind = |state: &Value| service(state, "projection-service")["backlog"].as_u64() > Some(0);
    feed.state_where("the projection is behind", is_behind).await;
}

#[tokio::test]
async fn a_flood_is_sampled_and_counted_and_a_client_that_does_not_read_delays_no_other() {
    let shop = Shop::start().await;
    let orders = FakeService::orders(&shop).await;
    let address = shop.base.trim_start_matches("http://");
    let mut unread = tokio::net::TcpStream::connect(address).await.unwrap();
    unread.write_all(b"GET /overview HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
    let mut feed = Feed::open(shop.get("/overview")).await;
    feed.frame().await;
    let js = jetstream::new(shop.connect("order-service").await);
    orders.publish("order.event.placed.ORDER_000", Uuid::now_v7(), &json!({})).await;
    let sample = shop.stream(EVENTS).await.get_raw_message(1).await.unwrap();
    let mut acknowledgements = Vec::new();
    for n in 0..5000 {
        let mut headers = sample.headers.clone();
        headers.insert("Nats-Msg-Id", n.to_string());
        let subject = format!("order.event.placed.ORDER_{n}");
        acknowledgements.push(js.publish_with_headers(subject, headers, "{}".into()).await.unwrap());
        if acknowledgements.len() == 500 {
            for acknowledgement in acknowledgements.drain(..) {
                acknowledgement.await.unwrap();
            }
        }
    }
    let mut seen = 0;
    while seen < 5001 {
        let (event, data) = feed.frame().await;
        if event == "messages" {
            assert!(data["shown"].as_u64().unwrap() <= 20, "{data}");
            seen += data["seen"].as_u64().unwrap();
        }
    }
    assert_eq!(seen, 5001);
    let rated = |state: &Value| state["orders"]["placedPerSecond"].as_f64().unwrap() > 10.0;
    feed.state_where("orders are placed", rated).await;
    drop(unread);
}

#[tokio::test]
async fn no_stream_is_followed_without_clients() {
    let shop = Shop::start().await;
    let stream = shop.stream(EVENTS).await;
    let followers = || async {
        let all: Vec<consumer::Info> = stream.consumers().try_collect().await.unwrap();
        let feeds = all.into_iter().filter(|info| info.config.durable_name.is_none());
        feeds.map(|info| info.num_waiting).collect::<Vec<_>>()
    };
    assert!(followers().await.is_empty());
    let (feed, other) = (Feed::open(shop.get("/overview")).await, Feed::open(shop.get("/overview")).await);
    until("one follower serves both", || async { followers().await == [1] }).await;
    drop((feed, other));
    until("no follower pulls", || async { followers().await.iter().sum::<usize>() == 0 }).await;
}

#[tokio::test]
async fn an_outage_shows_the_last_known_state_and_the_overview_continues_afterwards() {
    let mut shop = Shop::start().await;
    let mut feed = Feed::open(shop.get("/overview")).await;
    feed.state_where("the server runs", |state| state["broker"] == "running").await;
    shop.nats.kill().unwrap();
    let down = feed.state_where("the server is down", |state| state["broker"] == "unavailable").await;
    assert_eq!(down["streams"].as_array().unwrap().len(), 4, "{down:#}");
    shop.nats.restart().await.unwrap();
    feed.state_where("the server runs again", |state| state["broker"] == "running").await;
    let orders = FakeService::orders(&shop).await;
    let (mut reported, start) = (0, Instant::now());
    while reported == 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing is shown after the restart");
        orders.publish("order.event.placed.ORDER_001", Uuid::now_v7(), &json!({})).await;
        let (event, data) = feed.frame().await;
        reported = if event == "messages" { data["shown"].as_u64().unwrap() } else { 0 };
    }
}

#[tokio::test]
async fn the_gateway_stops_while_a_client_is_connected() {
    let mut shop = Shop::start().await;
    let mut feed = Feed::open(shop.get("/overview")).await;
    feed.frame().await;
    assert!(shop.stop().await < Duration::from_secs(4));
}
