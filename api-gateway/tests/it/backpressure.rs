//! Durability of commands, and back-pressure when there is no capacity for the messages that they cause.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer::PullConsumer, stream};
use choreography::durability::Level;
use contracts::topology::{COMMANDS, EVENTS};
use futures::StreamExt;
use serde_json::json;

use crate::card_numbers::Gateway;
use crate::support::{HttpResponse, Shop, an_order, nats, nats_like, provision, until};

async fn place(shop: &Shop, id: &str) -> HttpResponse {
    HttpResponse::of(shop.post("/orders", &an_order(id))).await
}

#[tokio::test]
async fn commands_are_refused_while_the_backlog_of_a_service_is_too_long_and_accepted_afterwards() {
    let shop = Shop::set(nats().await, |config| config.max_backlog = 3);
    shop.until_ready().await;
    for n in 0..4 {
        assert_eq!(place(&shop, &format!("ORDER_{n}")).await.status, 202);
    }
    until("the gateway refuses", || async { place(&shop, "ORDER_4").await.status == 503 }).await;
    place(&shop, "ORDER_4").await.is_problem(503, "overloaded");
    let stored = shop.commands().await.len();
    place(&shop, "ORDER_4").await.is_problem(503, "overloaded");
    assert_eq!(shop.commands().await.len(), stored, "nothing of a refused request is stored");
    // Queries still work, and readiness has the reason.
    let ready = HttpResponse::of(shop.get("/readiness")).await;
    assert_eq!(ready.status, 200);
    let why = ready.body["checks"]["backpressure"]["detail"].as_str().unwrap();
    assert!(why.contains("messages wait for order-service"), "{why}");

    let order_service = jetstream::new(shop.connect("order-service").await);
    let stream = order_service.get_stream(COMMANDS).await.unwrap();
    let consumer: PullConsumer = stream.get_consumer("order-service").await.unwrap();
    let mut batch = consumer.fetch().max_messages(10).messages().await.unwrap();
    while let Some(Ok(message)) = batch.next().await {
        message.ack().await.unwrap();
    }
    until("commands are accepted again", || async { place(&shop, "ORDER_4").await.status == 202 }).await;
}

/// Changes the limits of a stream.
async fn limit(shop: &Shop, name: &str, change: impl FnOnce(&mut stream::Config)) {
    let provisioner = jetstream::new(shop.connect("provisioner").await);
    let mut config = provisioner.get_stream(name).await.unwrap().cached_info().config.clone();
    change(&mut config);
    provisioner.update_stream(&config).await.unwrap();
}

/// Reads and acknowledges everything that waits for a service in a stream.
async fn consume(shop: &Shop, service: &str, stream: &str) {
    let js = jetstream::new(shop.connect(service).await);
    let mut consumer: PullConsumer = js.get_consumer_from_stream(service, stream).await.unwrap();
    while consumer.info().await.unwrap().num_pending > 0 {
        let mut batch = consumer.fetch().max_messages(100).messages().await.unwrap();
        while let Some(Ok(message)) = batch.next().await {
            message.double_ack().await.unwrap();
        }
    }
}

/// Publishes events of one order each, with a body of 900 bytes.
async fn publish_placed(shop: &Shop, orders: std::ops::Range<usize>) {
    let js = jetstream::new(shop.connect("order-service").await);
    for n in orders {
        let body = vec![b' '; 900];
        js.publish(format!("order.event.placed.ORDER_{n}"), body.into()).await.unwrap().await.unwrap();
    }
}

/// The detail of a check of readiness.
async fn detail(shop: &Shop, check: &str) -> String {
    let ready = HttpResponse::of(shop.get("/readiness")).await;
    ready.body["checks"][check]["detail"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_stream_full_of_consumed_messages_has_capacity_and_one_that_events_to_come_may_fill_has_none() {
    let mut shop = Shop::start().await;
    // A process of its own: the gateways of other tests have the same metrics in this one.
    let gateway = Gateway::start(&shop).await;
    shop.base.clone_from(&gateway.base);
    limit(&shop, EVENTS, |config| config.max_bytes = 500_000).await;
    // Consumed messages leave capacity, however full the stream is.
    for orders in [0..300, 300..600] {
        publish_placed(&shop, orders).await;
        for service in ["inventory-service", "payment-service"] {
            consume(&shop, service, EVENTS).await;
        }
        // A stream that turns over between two polls of the gateway may have lost messages.
        until("the gateway has seen it consumed", || async {
            let metrics = HttpResponse::of(shop.get("/metrics")).await.body;
            let metrics = metrics.as_str().unwrap();
            metrics.contains(r#"messaging_stream_unconsumed_bytes{stream="EVENTS"} 0.0"#)
                && !metrics.contains(r#"messaging_stream_bytes{stream="EVENTS"} 0.0"#)
        })
        .await;
    }
    let events = shop.stream(EVENTS).await;
    assert!(events.cached_info().state.first_sequence > 1, "the ring buffer has dropped the oldest");
    until("commands are accepted", || async { place(&shop, "ORDER_A").await.status == 202 }).await;

    // Few bytes are unconsumed, and many events may follow from them.
    publish_placed(&shop, 600..650).await;
    until("the gateway refuses", || async { place(&shop, "ORDER_B").await.status == 503 }).await;
    until("the gateway measures that nothing is consumed", || async {
        let refused = place(&shop, "ORDER_B").await;
        refused.is_problem(503, "overloaded");
        refused.header("retry-after") == Some("60")
    })
    .await;
    let why = detail(&shop, "backpressure").await;
    assert!(why.contains("EVENTS") && why.contains("may follow"), "{why}");
    assert!(detail(&shop, "capacity").await.contains("EVENTS"));
    for service in ["inventory-service", "payment-service"] {
        consume(&shop, service, EVENTS).await;
    }
    until("commands are accepted again", || async { place(&shop, "ORDER_B").await.status == 202 }).await;
    assert_eq!(detail(&shop, "loss").await, "");
}

#[tokio::test]
async fn readiness_warns_before_unconsumed_messages_are_dropped_and_reports_the_loss() {
    let shop = Shop::start().await;
    limit(&shop, COMMANDS, |config| {
        (config.max_age, config.duplicate_window) = (Duration::from_secs(6), Duration::from_secs(6));
    })
    .await;
    assert_eq!(place(&shop, "ORDER_1").await.status, 202);
    assert_eq!(place(&shop, "ORDER_2").await.status, 202);
    until("readiness warns", || async {
        detail(&shop, "capacity").await.contains("2 messages wait for order-service")
    })
    .await;
    until("readiness reports the loss", || async { detail(&shop, "loss").await.contains("sequences 1 to 2") })
        .await;
    let loss = detail(&shop, "loss").await;
    assert!(loss.contains("order-service of COMMANDS") && loss.contains("at least 2 messages"), "{loss}");
    let metrics = HttpResponse::of(shop.get("/metrics")).await.body;
    let counted = r#"messaging_messages_lost_total{stream="COMMANDS",consumer="order-service",possible="false"}"#;
    assert!(metrics.as_str().unwrap().contains(counted), "{metrics}");
}

#[tokio::test]
async fn readiness_follows_streams_bucket_and_server_within_five_seconds() {
    let mut shop = Shop::start().await;
    let provisioner = jetstream::new(shop.connect("provisioner").await);
    for name in [EVENTS, COMMANDS, "KV_IDEMPOTENCY"] {
        provisioner.delete_stream(name).await.unwrap();
        within_five_seconds("the gateway is unready", || async {
            let ready = HttpResponse::of(shop.get("/readiness")).await;
            ready.status == 503 && ready.body["checks"]["streams"]["detail"].as_str().unwrap().contains(name)
        })
        .await;
        assert!(detail(&shop, "backpressure").await.contains("unknown"));
        provision(&shop.nats).await;
        within_five_seconds("the gateway is ready again", || async {
            HttpResponse::of(shop.get("/readiness")).await.status == 200
        })
        .await;
    }
    shop.nats.pause().unwrap();
    within_five_seconds("the gateway is unready", || async {
        HttpResponse::of(shop.get("/readiness")).await.status == 503
    })
    .await;
    shop.nats.resume().unwrap();
    shop.until_ready().await;
}

async fn within_five_seconds<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let start = Instant::now();
    until(what, condition).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{what} after {:?}", start.elapsed());
}

#[tokio::test]
async fn a_full_bucket_refuses_new_keys_with_retry_after_and_accepts_requests_without_a_key() {
    let shop = Shop::start().await;
    limit(&shop, "KV_IDEMPOTENCY", |config| config.max_bytes = 2_000).await;
    let keyed = |n: usize| {
        let request = shop.post("/orders", &an_order(&format!("ORDER_{n}")));
        HttpResponse::of(request.header("idempotency-key", format!("key-{n}")))
    };
    let mut accepted = 0;
    while keyed(accepted).await.status == 202 {
        accepted += 1;
    }
    assert!(accepted >= 8, "an entry takes more than 250 bytes: {accepted} fit");
    until("the oldest entry is known", || async {
        let refused = keyed(accepted).await;
        refused.is_problem(503, "idempotency-keys-full");
        refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 86_000
    })
    .await;
    assert_eq!(keyed(0).await.status, 202, "a stored key is accepted");
    assert_eq!(place(&shop, "ORDER_X").await.status, 202);
    until("readiness warns", || async { detail(&shop, "capacity").await.contains("IDEMPOTENCY is") }).await;
}

#[tokio::test]
async fn a_response_has_the_durability_that_the_server_reports() {
    let nats = nats().await;
    let monitor = nats.monitor_url();
    let shop = Shop::set(nats, |config| config.durability.nats_monitor_url = vec![monitor]);
    shop.until_ready().await;
    assert_eq!(place(&shop, "ORDER_1").await.body["durability"], "unsynced");
    let readiness = HttpResponse::of(shop.get("/readiness")).await;
    assert_eq!(readiness.body["checks"]["durability"], json!({"ok": true, "detail": "unsynced"}));
}

#[tokio::test]
async fn the_gateway_does_not_start_if_the_durability_is_too_low_and_the_error_has_the_remedy() {
    for (level, how) in [(Level::Fsynced, "sync_interval: always"), (Level::Replicated, "three replicas")] {
        let mut shop = Shop::set(nats().await, |config| config.durability.minimum_durability = vec![level]);
        let why = shop.ended().await;
        assert!(why.contains("\"unsynced\"") && why.contains(how), "{why}");
    }
}

#[tokio::test]
async fn a_server_that_syncs_before_it_acknowledges_is_detected() {
    let conf = include_str!("../../../nats.conf").replace("sync_interval: 10s", "sync_interval: always");
    let file = std::env::temp_dir().join(format!("gateway-synced-{}.conf", std::process::id()));
    std::fs::write(&file, conf).unwrap();
    let nats = nats_like(&file).await;
    let monitor = nats.monitor_url();
    let shop = Shop::set(nats, |config| {
        config.durability.nats_monitor_url = vec![monitor];
        config.durability.minimum_durability = vec![Level::Fsynced];
    });
    shop.until_ready().await;
    assert_eq!(place(&shop, "ORDER_1").await.body["durability"], "fsynced");
    std::fs::remove_file(file).unwrap();
}
