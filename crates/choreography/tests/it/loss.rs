//! Messages that a stream removed before their service consumed them are reported as lost.

use std::time::Duration;

use uuid::Uuid;

use crate::counter::Mode;
use crate::support::{Bench, Engine, eventually};

/// Sets the maximum age of messages in COMMANDS.
async fn set_max_age(bench: &Bench, seconds: u64) {
    let mut config = bench.stream("COMMANDS").await.cached_info().config.clone();
    config.max_age = Duration::from_secs(seconds);
    config.duplicate_window = Duration::from_secs(1);
    bench.js.update_stream(config).await.unwrap();
}

#[tokio::test]
async fn a_service_that_was_down_for_too_long_reports_the_lost_messages() {
    let bench = Bench::new(Engine::Sqlite).await;
    let running = bench.start().await;
    bench.send(Uuid::new_v4(), "K1", Mode::Add).await;
    eventually("the first is handled", || async { bench.total("K1").await == 1 }).await;
    bench.settled().await;
    assert!(!running.readiness().await.1.contains("loss"), "nothing is lost yet");
    running.stop().await.0.unwrap();

    for _ in 0..2 {
        bench.send(Uuid::new_v4(), "K2", Mode::Add).await;
    }
    set_max_age(&bench, 1).await;
    eventually("the stream is empty", || async { bench.messages("COMMANDS").await == 0 }).await;
    set_max_age(&bench, 3600).await;
    // The delivery of this message moves the consumer's position across the gap.
    bench.send(Uuid::new_v4(), "K3", Mode::Add).await;
    let running = bench.start().await;
    eventually("the loss is reported", || async { running.readiness().await.1.contains("sequences 2 to 3") }).await;
    assert!(running.readiness().await.1.contains("loss/COMMANDS"));
    let metrics = running.metrics().await;
    let counted =
        r#"messaging_messages_lost_total{stream="COMMANDS",consumer="counter-service",possible="true"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
    eventually("the next is handled", || async { bench.total("K3").await == 1 }).await;
}

#[tokio::test]
async fn a_new_consumer_of_a_stream_that_lost_its_first_messages_is_reported_once() {
    let bench = Bench::new(Engine::Sqlite).await;
    for _ in 0..3 {
        bench.send(Uuid::new_v4(), "K1", Mode::Add).await;
    }
    let commands = bench.stream("COMMANDS").await;
    let config = commands.consumer_info("counter-service").await.unwrap().config;
    commands.purge().sequence(3).await.unwrap();
    commands.delete_consumer("counter-service").await.unwrap();
    commands.create_consumer(config).await.unwrap();

    let running = bench.start().await;
    eventually("the remaining message is handled", || async { bench.total("K1").await == 1 }).await;
    let (is_ready, readiness) = running.readiness().await;
    assert!(
        is_ready && readiness.contains("start/COMMANDS") && readiness.contains("up to sequence 2"),
        "{readiness}"
    );
    assert!(!readiness.contains("loss"), "{readiness}");
    running.stop().await.0.unwrap();
    let running = bench.start().await;
    eventually("it is ready", || async { running.readiness().await.0 }).await;
    assert!(!running.readiness().await.1.contains("start/COMMANDS"), "a consumer with deliveries is not new");
}
