//! The shutdown of a service: within ten seconds, whatever hangs, and without an error.

use std::time::Duration;

use sea_orm::{ConnectionTrait, TransactionTrait};
use uuid::Uuid;

use crate::counter::Mode;
use crate::support::{Bench, Engine, Running, eventually};

async fn ends_in_time(service: Running) {
    let (outcome, took) = service.stop().await;
    outcome.expect("a shutdown without an error");
    assert!(took < Duration::from_millis(8800), "it took {took:?}");
}

#[tokio::test]
async fn a_service_whose_broker_is_down_ends_in_time() {
    let mut bench = Bench::new(Engine::Sqlite).await;
    let service = bench.start().await;
    bench.nats.kill().unwrap();
    eventually("the outage is known", || async { !service.readiness().await.0 }).await;
    ends_in_time(service).await;
}

#[tokio::test]
async fn a_service_whose_broker_hangs_ends_in_time_and_works_after_a_restart() {
    let mut bench = Bench::new(Engine::Sqlite).await;
    let service = bench.start().await;
    bench.nats.pause().unwrap();
    ends_in_time(service).await;
    bench.nats.resume().unwrap();
    let _service = bench.start().await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
}

#[tokio::test]
async fn a_service_whose_tables_are_locked_ends_in_time_and_loses_nothing() {
    let bench = Bench::new(Engine::Postgres).await;
    let service = bench.start().await;
    let lock = bench.db.begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE").await.unwrap();
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    eventually("the message is delivered", || async { bench.deliveries().await > 0 }).await;
    ends_in_time(service).await;
    lock.rollback().await.unwrap();
    let _service = bench.start().await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
}
