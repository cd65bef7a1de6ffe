//! Outages of the database, as opposed to failures of messages: errors, hangs, and locks.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use choreography::ServiceOptions;
use choreography::database::Databases;
use futures::StreamExt;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, TransactionTrait};
use uuid::Uuid;

use crate::counter::{Migrator, Mode};
use crate::frozen::{Frozen, without_deadlock_detection};
use crate::on_both_databases;
use crate::support::{Bench, Engine, Running, eventually};

on_both_databases!(
    one_message_that_fails_among_256_costs_few_transactions,
    deliveries_without_a_failure_use_up_no_attempts,
);

async fn one_message_that_fails_among_256_costs_few_transactions(engine: Engine) {
    let bench = Bench::new(engine).await;
    for n in 0..256 {
        let mode = if n == 100 { Mode::Reject } else { Mode::Add };
        bench.send(Uuid::now_v7(), "K1", mode).await;
    }
    let service = bench.start().await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 255);
    assert_eq!(bench.messages("DEAD_LETTERS").await, 1);
    let largest = *service.handler.largest_batch.lock().unwrap();
    assert!(largest > 128, "the largest batch had {largest} messages");
    // 1 + 2 * log2(256), and some batches before and after it.
    let calls = service.handler.calls.load(Ordering::Relaxed);
    assert!(calls <= 25, "{calls}");
}

async fn deliveries_without_a_failure_use_up_no_attempts(engine: Engine) {
    let bench = Bench::new(engine).await;
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::FailTwice).await;
    let consumer: PullConsumer = bench.stream("COMMANDS").await.get_consumer("counter-service").await.unwrap();
    for _ in 0..5 {
        let mut batch = consumer.batch().max_messages(1).expires(Duration::from_secs(10)).messages().await.unwrap();
        batch.next().await.unwrap().unwrap().ack_with(AckKind::Nak(None)).await.unwrap();
    }
    let service = bench.start().await;
    bench.settled().await;
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
    assert_eq!(bench.total("K1").await, 1);
    assert_eq!(service.handler.attempts.lock().unwrap()[&id].len(), 3);
}

#[tokio::test]
async fn a_slow_handler_handles_a_message_redelivered_while_queued_once() {
    const MESSAGES: u64 = 300;
    let bench = Bench::new(Engine::Sqlite).await;
    let stream = bench.stream("COMMANDS").await;
    let mut consumer = stream.consumer_info("counter-service").await.unwrap().config;
    // Messages are queued for longer than this.
    consumer.ack_wait = Duration::from_secs(1);
    stream.create_consumer(consumer).await.unwrap();
    for n in 0..MESSAGES {
        bench.send(Uuid::now_v7(), &format!("K{n}"), Mode::Slowish).await;
    }
    let service = bench.start().await;
    bench.settled().await;
    assert!(bench.deliveries().await > MESSAGES, "no message was redelivered");
    let attempts = service.handler.attempts.lock().unwrap();
    assert_eq!(attempts.len() as u64, MESSAGES);
    assert!(attempts.values().all(|times| times.len() == 1));
}

/// Connects without the session limits of the library.
async fn unlimited(bench: &Bench) -> DatabaseConnection {
    Database::connect(&bench.url).await.unwrap()
}

async fn unready(service: &Running, detail: &str) {
    eventually("readiness reports the database", || async {
        let (ready, text) = service.readiness().await;
        !ready && text.contains(detail)
    })
    .await;
}

#[tokio::test]
async fn a_table_that_is_locked_makes_the_service_unready_in_seconds_and_uses_up_no_attempts() {
    let mut bench = Bench::new(Engine::Postgres).await;
    // The limits of the library override both settings.
    let name = bench.url.rsplit('/').next().unwrap().to_owned();
    bench.db.execute_unprepared(&format!("ALTER DATABASE \"{name}\" SET lock_timeout = 0")).await.unwrap();
    bench.url += "?options=-c%20lock_timeout%3D0";
    let service = bench.start().await;
    let admin = unlimited(&bench).await;
    let lock = admin.begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE counter IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let began = Instant::now();
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::Add).await;
    unready(&service, "lock timeout").await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
    let attempts = || service.handler.attempts.lock().unwrap()[&id].len();
    // More attempts than a message may fail.
    eventually("the message is retried", || async { attempts() > 3 }).await;
    lock.rollback().await.unwrap();
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
    assert_eq!(bench.deliveries().await, 1);
    assert!(service.readiness().await.0);
}

#[tokio::test]
async fn a_service_stops_in_time_while_a_table_is_locked() {
    let bench = Bench::new(Engine::Postgres).await;
    let service = bench.start().await;
    let admin = unlimited(&bench).await;
    let lock = admin.begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE").await.unwrap();
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    unready(&service, "database").await;
    let (ended, took) = service.stop().await;
    ended.unwrap();
    assert!(took < Duration::from_secs(9), "{took:?}");
}

#[tokio::test]
async fn an_instance_frozen_inside_its_transaction_blocks_others_only_for_seconds() {
    let bench = Bench::new(Engine::Postgres).await;
    let service = bench.start().await;
    let id = Uuid::now_v7();
    // A session of the library that has recorded the message and never commits.
    let frozen = bench.db.begin().await.unwrap();
    frozen.execute_unprepared(&format!("INSERT INTO inbox VALUES ('{id}', 0)")).await.unwrap();
    let began = Instant::now();
    bench.send(id, "K1", Mode::Add).await;
    unready(&service, "database").await;
    bench.settled().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(bench.total("K1").await, 1);
    assert_eq!(bench.deliveries().await, 1);
    assert!(frozen.commit().await.is_err(), "its session was ended");
}

#[tokio::test]
async fn a_frozen_backend_is_abandoned_for_another_one() {
    let bench = Bench::new(Engine::Postgres).await;
    let admin = unlimited(&bench).await;
    without_deadlock_detection(&bench, &admin).await;
    let service = bench.start().await;
    let lock = admin.begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE").await.unwrap();
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    let frozen = Frozen::waiting_with(&admin, "").await;
    lock.rollback().await.unwrap();
    unready(&service, "a transaction of 1 messages has been open").await;
    // The frozen backend has written nothing, so only the service waits for it.
    eventually("the message is handled", || async { bench.total("K1").await == 1 }).await;
    drop(frozen);
    bench.settled().await;
    assert_eq!(bench.deliveries().await, 1, "progress is reported meanwhile");
    assert!(service.readiness().await.0);
}

#[tokio::test]
async fn a_service_recovers_within_seconds_after_its_database_was_read_only() {
    let mut bench = Bench::new(Engine::Postgres).await;
    let service = bench.start().await;
    let (server, name) = bench.url.rsplit_once('/').unwrap();
    let admin = Database::connect(format!("{server}/postgres")).await.unwrap();
    let set = format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = on");
    admin.execute_unprepared(&set).await.unwrap();
    let terminate = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    admin.execute_unprepared(&terminate).await.unwrap();
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    unready(&service, "read-only transaction").await;
    // The sessions that were opened in read-only mode remain.
    admin
        .execute_unprepared(&format!("ALTER DATABASE \"{name}\" RESET default_transaction_read_only"))
        .await
        .unwrap();
    eventually("the service is ready again", || async { service.readiness().await.0 }).await;
    // The sessions of the test were terminated, too.
    bench.db = Database::connect(&bench.url).await.unwrap();
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
}

#[tokio::test]
async fn a_deadlock_uses_up_no_attempts() {
    let bench = Bench::new(Engine::Postgres).await;
    let service = bench.start().await;
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::Deadlock).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
    assert_eq!(bench.deliveries().await, 1);
    assert_eq!(service.handler.attempts.lock().unwrap()[&id].len(), 5);
}

#[tokio::test]
async fn a_message_that_another_instance_has_handled_leaves_no_dead_letter() {
    let bench = Bench::new(Engine::Postgres).await;
    let service = bench.launch(&ServiceOptions { max_attempts: 1, ..bench.options() }).await;
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::HandledElsewhere).await;
    eventually("the message is attempted", || async { service.handler.attempts.lock().unwrap().contains_key(&id) })
        .await;
    bench.settled().await;
    service.stop().await.0.unwrap();
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
}

#[tokio::test]
async fn readers_use_up_no_connections_of_writers() {
    let bench = Bench::new(Engine::Postgres).await;
    let databases = Databases::open::<Migrator>(&bench.url).await.unwrap();
    let mut readers = Vec::new();
    while let Ok(Ok(reader)) = tokio::time::timeout(Duration::from_millis(500), databases.reader.begin()).await {
        readers.push(reader);
    }
    assert!((2..=8).contains(&readers.len()), "{}", readers.len());
    let writer = tokio::time::timeout(Duration::from_secs(2), databases.writer.begin()).await.unwrap().unwrap();
    writer.rollback().await.unwrap();
}
