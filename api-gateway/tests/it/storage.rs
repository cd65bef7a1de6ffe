//! nats-server at its storage limit: an outage that readiness explains, and that ends by itself.

use async_nats::jetstream;
use contracts::topology::{COMMANDS, EVENTS, TIMERS};

use crate::support::{HttpResponse, NATS_CONF, Shop, an_order, nats_like, until};

#[tokio::test]
async fn a_server_at_its_storage_limit_makes_the_gateway_unready_and_stores_commands_again_after_a_purge() {
    let file = std::env::temp_dir().join(format!("gateway-storage-{}.conf", std::process::id()));
    let conf = std::fs::read_to_string(NATS_CONF).unwrap();
    std::fs::write(&file, &conf).unwrap();
    let nats = nats_like(&file).await;
    let monitor = nats.monitor_url();
    let mut shop = Shop::set(nats, |config| config.durability.nats_monitor_url = vec![monitor]);
    // Streams without limits of their own: only that of the server keeps them from filling the disk.
    let provisioner = jetstream::new(shop.connect("provisioner").await);
    for name in [COMMANDS, EVENTS, TIMERS, "DEAD_LETTERS", "KV_IDEMPOTENCY"] {
        let mut config = provisioner.get_stream(name).await.unwrap().cached_info().config.clone();
        config.max_bytes = -1;
        provisioner.update_stream(&config).await.unwrap();
    }
    shop.nats.stop().await.unwrap();
    std::fs::write(&file, conf.replace("max_file_store: 12GB", "max_file_store: 20KB")).unwrap();
    shop.nats.restart().await.unwrap();
    shop.until_ready().await;
    let ready = || async { HttpResponse::of(shop.get("/readiness")).await };
    let detail =
        |ready: &HttpResponse, part: &str| ready.body["checks"][part]["detail"].as_str().unwrap_or("").to_owned();
    let place = |n: usize| {
        let order = shop.post("/orders", &an_order(&format!("ORDER_{n}")));
        async move { HttpResponse::of(order).await }
    };
    let mut accepted = 0;
    let refused = loop {
        let response = place(accepted).await;
        if response.status != 202 {
            break response;
        }
        accepted += 1;
        assert!(accepted < 100, "the limit is never reached");
    };
    refused.is_problem(503, "unavailable");
    until("readiness names the limit", || async {
        let ready = ready().await;
        ready.status == 503 && detail(&ready, "nats-storage").contains("at most 20 KiB")
    })
    .await;
    // The failures are cleared after ten seconds; two refused commands report them again.
    for _ in 0..2 {
        place(accepted).await.is_problem(503, "unavailable");
    }
    assert!(detail(&ready().await, "publishing").contains("stored none of the last commands"));
    let metrics = HttpResponse::of(shop.get("/metrics")).await.body;
    assert!(metrics.as_str().unwrap().contains("messaging_nats_max_storage_bytes{source=\"http://"), "{metrics}");

    // No accepted command is lost, and free capacity suffices.
    assert_eq!(shop.commands().await.len(), accepted);
    let provisioner = jetstream::new(shop.connect("provisioner").await);
    provisioner.get_stream(COMMANDS).await.unwrap().purge().await.unwrap();
    until("the gateway is ready", || async { ready().await.status == 200 }).await;
    assert_eq!(place(accepted).await.status, 202);
    std::fs::remove_file(file).unwrap();
}
