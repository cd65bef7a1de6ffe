//! Messages that a stream discarded before their service consumed them are reported.

use std::time::Duration;

use uuid::Uuid;

use crate::support::{Bench, Engine, eventually};
use crate::tally::Mode;

/// Lets the stream of commands keep messages for one second only.
async fn forget_soon(bench: &Bench) {
    let mut config = bench.stream("COMMANDS").await.cached_info().config.clone();
    config.max_age = Duration::from_secs(1);
    config.duplicate_window = Duration::from_secs(1);
    bench.js.update_stream(config).await.unwrap();
}

#[tokio::test]
async fn a_service_that_was_away_for_too_long_says_which_messages_it_missed() {
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
    forget_soon(&bench).await;
    eventually("the stream is empty", || async { bench.messages("COMMANDS").await == 0 }).await;
    let running = bench.start().await;
    eventually("the loss is reported", || async { running.readiness().await.1.contains("sequences 2 to 3") }).await;
    assert!(running.readiness().await.1.contains("loss COMMANDS"));
    let metrics = running.metrics().await;
    let counted = r#"messaging_messages_lost_total{stream="COMMANDS",consumer="tally-service"}"#;
    assert!(metrics.contains(counted), "{metrics}");
    // What comes afterwards is handled.
    bench.send(Uuid::new_v4(), "K3", Mode::Add).await;
    eventually("the next is handled", || async { bench.total("K3").await == 1 }).await;
}
