//! What survives when something breaks.

use std::time::Duration;

use local_servers::TestPostgres;
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use crate::on_both_databases;
use crate::support::{Bench, Engine, Mode, eventually};

on_both_databases!(
    a_crash_at_any_moment_loses_nothing_and_doubles_nothing,
    two_instances_share_the_work_and_handle_each_message_once,
    a_shutdown_under_load_finishes_its_batch_and_ends_in_time,
    what_a_crash_left_in_the_outbox_is_published_at_the_next_start,
    a_broker_that_dies_and_returns_costs_nothing,
);

async fn a_crash_at_any_moment_loses_nothing_and_doubles_nothing(engine: Engine) {
    let bench = Bench::new(engine).await;
    for _ in 0..600 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    for round in 0..8 {
        let service = bench.start().await;
        tokio::time::sleep(Duration::from_millis(round * 13 % 70)).await;
        service.crash().await;
    }
    let _service = bench.start().await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 600);
    assert_eq!(bench.messages("EVENTS").await, 600);
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
}

async fn two_instances_share_the_work_and_handle_each_message_once(engine: Engine) {
    let bench = Bench::new(engine).await;
    let one = bench.start().await;
    let other = bench.start().await;
    for _ in 0..200 {
        let id = Uuid::now_v7();
        for _ in 0..2 {
            bench.send(id, "K1", Mode::Add).await;
        }
    }
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 200);
    assert_eq!(bench.messages("EVENTS").await, 200);
    for service in [one, other] {
        assert!(!service.handler.attempts.lock().unwrap().is_empty(), "an instance has done nothing");
        service.stop().await.0.unwrap();
    }
}

async fn a_shutdown_under_load_finishes_its_batch_and_ends_in_time(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    for _ in 0..400 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    let (ended, took) = service.stop().await;
    ended.unwrap();
    assert!(took < Duration::from_secs(10), "{took:?}");
    // What was committed has been published, without anybody running any more.
    assert_eq!(bench.messages("EVENTS").await, u64::try_from(bench.total("K1").await).unwrap());
    assert_eq!(messaging::outbox::depth(&bench.db).await.unwrap(), 0);

    let _service = bench.start().await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 400);
}

async fn what_a_crash_left_in_the_outbox_is_published_at_the_next_start(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    bench.settled().await;
    service.stop().await.0.unwrap();
    // As if it had crashed between commit and publish, and the stream had never seen the event.
    bench.stream("EVENTS").await.purge().await.unwrap();
    bench.db.execute_unprepared("UPDATE outbox SET published_at = NULL").await.unwrap();
    bench
        .db
        .execute_unprepared(
            "UPDATE outbox SET message_id = message_id, headers = REPLACE(headers, 'Nats-Msg-Id', 'X-Was')",
        )
        .await
        .unwrap();
    let _service = bench.start().await;
    eventually("the event is published", || async { bench.messages("EVENTS").await == 1 }).await;
    bench.settled().await;
}

async fn a_broker_that_dies_and_returns_costs_nothing(engine: Engine) {
    let mut bench = Bench::new(engine).await;
    let service = bench.start().await;
    for _ in 0..200 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    bench.nats.kill().unwrap();
    eventually("it says that it is not ready", || async { !service.readiness().await.0 }).await;
    bench.nats.restart().await.unwrap();
    eventually("it is ready again", || async { service.readiness().await.0 }).await;
    eventually("the tester is connected again", || async { bench.js.query_account().await.is_ok() }).await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 201);
    assert_eq!(bench.messages("EVENTS").await, 201);
}

#[tokio::test]
async fn a_database_that_dies_and_returns_uses_up_no_attempts() {
    let mut postgres = TestPostgres::start().await.unwrap();
    let bench = Bench::on(postgres.create_database().await.unwrap()).await;
    let service = bench.start().await;
    postgres.kill().unwrap();
    for _ in 0..50 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    eventually("it says that it is not ready", || async { !service.readiness().await.0 }).await;
    // Longer than three attempts would take.
    tokio::time::sleep(Duration::from_secs(3)).await;
    postgres.restart().await.unwrap();
    eventually("it is ready again", || async { service.readiness().await.0 }).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 50);
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
    service.stop().await.0.unwrap();
}
