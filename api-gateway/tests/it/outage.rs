//! While NATS is down no request hangs, and a request that got 503 can be repeated.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use serde_json::json;

use crate::support::{HttpResponse, NATS_CONF, Shop, an_order, bare_nats, provision, until};

#[tokio::test]
async fn while_nats_is_down_requests_fail_at_once_and_work_again_afterwards() {
    let mut shop = Shop::start().await;
    shop.nats.kill().unwrap();
    until("the gateway is not ready", || async { HttpResponse::of(shop.get("/readiness")).await.status == 503 })
        .await;
    let order = an_order("ORDER_001");
    let keyed = |shop: &Shop| shop.post("/orders", &order).header("idempotency-key", "\"k\"");
    let restock = |shop: &Shop| {
        shop.post("/products/PRODUCT_001/restock", &json!({"quantity": 5})).header("idempotency-key", "\"k\"")
    };
    let start = Instant::now();
    for request in [
        keyed(&shop),
        restock(&shop),
        shop.post("/orders", &order),
        shop.post("/orders", &order).header("prefer", "wait=30"),
        shop.get("/orders/ORDER_001"),
        shop.get("/events"),
    ] {
        HttpResponse::of(request).await.is_problem(503, "unavailable");
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(HttpResponse::of(shop.get("/liveness")).await.status, 200);

    shop.nats.restart().await.unwrap();
    shop.until_ready().await;
    assert_eq!(HttpResponse::of(keyed(&shop)).await.status, 202);
    assert_eq!(HttpResponse::of(restock(&shop)).await.status, 202);
    assert_eq!(shop.commands().await.len(), 2);
}

#[tokio::test]
async fn while_nats_hangs_requests_fail_in_time_and_are_processed_once() {
    let mut shop = Shop::start().await;
    let keyed = |shop: &Shop| shop.post("/orders", &an_order("ORDER_001")).header("idempotency-key", "\"k\"");
    assert_eq!(HttpResponse::of(shop.post("/orders", &an_order("ORDER_000"))).await.status, 202);
    shop.nats.pause().unwrap();
    let start = Instant::now();
    HttpResponse::of(keyed(&shop)).await.is_problem(503, "unavailable");
    assert!(start.elapsed() < Duration::from_millis(5500), "{:?}", start.elapsed());
    shop.nats.resume().unwrap();
    assert_eq!(HttpResponse::of(keyed(&shop)).await.status, 202);
    assert_eq!(shop.commands().await.len(), 2);
}

#[tokio::test]
async fn a_full_stream_or_a_missing_bucket_is_a_503() {
    let shop = Shop::start().await;
    assert_eq!(HttpResponse::of(shop.post("/orders", &an_order("ORDER_001"))).await.status, 202);
    let provisioner = jetstream::new(shop.connect("provisioner").await);
    let mut config = shop.stream("COMMANDS").await.info().await.unwrap().config.clone();
    let limits = (config.max_messages, config.discard);
    (config.max_messages, config.discard) = (1, stream::DiscardPolicy::New);
    provisioner.update_stream(&config).await.unwrap();
    HttpResponse::of(shop.post("/orders", &an_order("ORDER_002"))).await.is_problem(503, "unavailable");
    (config.max_messages, config.discard) = limits;
    provisioner.update_stream(&config).await.unwrap();
    assert_eq!(HttpResponse::of(shop.post("/orders", &an_order("ORDER_002"))).await.status, 202);

    provisioner.delete_key_value("IDEMPOTENCY").await.unwrap();
    let keyed = shop.post("/orders", &an_order("ORDER_003")).header("idempotency-key", "\"k\"");
    let start = Instant::now();
    HttpResponse::of(keyed).await.is_problem(503, "unavailable");
    assert!(start.elapsed() < Duration::from_millis(5500), "{:?}", start.elapsed());
    assert_eq!(shop.commands().await.len(), 2);
}

#[tokio::test]
async fn the_gateway_starts_before_its_broker_and_its_streams() {
    let mut nats = bare_nats(Path::new(NATS_CONF)).await;
    nats.kill().unwrap();
    let mut shop = Shop::around(nats);
    until("the gateway serves", || async { shop.http.get(format!("{}/liveness", shop.base)).send().await.is_ok() })
        .await;
    HttpResponse::of(shop.post("/orders", &an_order("ORDER_001"))).await.is_problem(503, "unavailable");
    shop.nats.restart().await.unwrap();
    until("the gateway is connected", || async {
        HttpResponse::of(shop.get("/readiness")).await.body["checks"]["nats"]["ok"] == true
    })
    .await;
    let readiness = HttpResponse::of(shop.get("/readiness")).await;
    assert_eq!(readiness.status, 503, "there are no streams: {readiness:?}");
    HttpResponse::of(shop.post("/orders", &an_order("ORDER_001"))).await.is_problem(503, "unavailable");
    provision(&shop.nats).await;
    shop.until_ready().await;
    assert_eq!(HttpResponse::of(shop.post("/orders", &an_order("ORDER_001"))).await.status, 202);
}
