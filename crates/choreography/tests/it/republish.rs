//! The restoration of streams from the outbox.

use std::time::Duration;

use choreography::dead_letter::STREAM_NAME;
use choreography::envelope::{REPUBLISHED, unix_millis};
use choreography::redrive::{self, Outcome, Report};
use choreography::republish::{Republished, Request, subject};
use choreography::{Topology, outbox};
use sea_orm::{ConnectionTrait, EntityTrait, QueryOrder, Statement};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::counter::Mode;
use crate::on_both_databases;
use crate::support::{Bench, Engine, TOPOLOGY, eventually, headers};

on_both_databases!(
    a_lost_stream_is_restored_with_the_same_messages_in_the_same_order,
    republishing_to_an_intact_stream_stores_no_message_twice,
    a_purged_stream_that_still_has_the_ids_is_restored_once,
    acks_of_a_deleted_stream_settle_no_message_of_its_successor,
    settled_timers_are_not_restored,
    redriven_dead_letters_are_not_restored,
    a_republished_message_beyond_the_dedup_window_is_dead_lettered_and_handled_only_if_forced,
);

/// Republishes everything, and returns the numbers of published, known, and settled messages.
async fn republish(bench: &Bench, subjects: &[&str]) -> (u64, u64, u64) {
    republish_to(bench, subjects, 0).await
}

/// Republishes to a stream that is complete only from a sequence on.
async fn republish_to(bench: &Bench, subjects: &[&str], intact_from: u64) -> (u64, u64, u64) {
    let subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
    let mut request = Request { subjects, intact_from, ..Request::default() };
    let mut sums = (0, 0, 0);
    loop {
        let body = serde_json::to_vec(&request).unwrap();
        let reply = bench.js.client().request(subject("counter-service"), body.into()).await.unwrap();
        let done: Republished =
            serde_json::from_slice(&reply.payload).unwrap_or_else(|_| panic!("{:?}", reply.headers));
        sums = (sums.0 + done.published, sums.1 + done.known, sums.2 + done.settled);
        (request.after, request.until) = (done.next, done.until);
        if done.next.is_none() {
            return sums;
        }
    }
}

async fn delete_and_provision(bench: &Bench, stream: &str) {
    bench.js.delete_stream(stream).await.unwrap();
    Topology::parse(TOPOLOGY).unwrap().provision(&bench.js, 1).await.unwrap();
}

async fn messages(bench: &Bench, stream: &str) -> Vec<(String, String)> {
    let stream = bench.stream(stream).await;
    let mut messages = Vec::new();
    for sequence in 1..=stream.cached_info().state.last_sequence {
        if let Ok(message) = stream.get_raw_message(sequence).await {
            let id = message.headers.get("Nats-Msg-Id").unwrap().as_str().to_owned();
            messages.push((message.subject.to_string(), id));
        }
    }
    messages
}

async fn a_lost_stream_is_restored_with_the_same_messages_in_the_same_order(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    for n in 0..600 {
        bench.send(Uuid::now_v7(), &format!("K{}", n % 7), Mode::Add).await;
    }
    bench.settled().await;
    let before = messages(&bench, "EVENTS").await;
    assert_eq!(before.len(), 600);
    // The clock was years ahead when the last one was written.
    let rows = outbox::entity::Entity::find().order_by_desc(outbox::entity::Column::RowId).all(&bench.db);
    let (last, ahead) = (rows.await.unwrap()[0].row_id, Uuid::from_u128(u128::MAX >> 1));
    let backend = bench.db.get_database_backend();
    let update = "UPDATE outbox SET row_id = $1 WHERE row_id = $2";
    let update = Statement::from_sql_and_values(backend, update, [ahead.into(), last.into()]);
    bench.db.execute_raw(update).await.unwrap();
    delete_and_provision(&bench, "EVENTS").await;
    assert_eq!(republish(&bench, &["other.event.>", "counter.event.>"]).await, (600, 0, 0));
    assert_eq!(messages(&bench, "EVENTS").await, before);
    let message = bench.stream("EVENTS").await.get_raw_message(1).await.unwrap();
    assert!(message.headers.get(REPUBLISHED).is_some());
}

async fn republishing_to_an_intact_stream_stores_no_message_twice(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    for _ in 0..10 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    bench.settled().await;
    assert_eq!(republish(&bench, &["counter.event.>"]).await, (0, 10, 0));
    assert_eq!(republish(&bench, &["counter.event.lost.*", "*.event.added"]).await.0, 0);
    assert_eq!(bench.messages("EVENTS").await, 10);
}

async fn a_purged_stream_that_still_has_the_ids_is_restored_once(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    for _ in 0..10 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    bench.settled().await;
    let ids = |stored: Vec<(String, String)>| stored.into_iter().map(|(_, id)| id).collect::<Vec<_>>();
    let before = ids(messages(&bench, "EVENTS").await);
    bench.stream("EVENTS").await.purge().keep(3).await.unwrap();
    assert_eq!(republish_to(&bench, &["counter.event.>"], 8).await, (7, 3, 0));
    let after = ids(messages(&bench, "EVENTS").await);
    let again: Vec<String> = before[..7].iter().map(|id| format!("{id}-8")).collect();
    assert_eq!(after, [&before[7..], &again[..]].concat());
    assert_eq!(republish_to(&bench, &["counter.event.>"], 8).await, (0, 10, 0));
    // It is purged again.
    bench.stream("EVENTS").await.purge().await.unwrap();
    assert_eq!(republish_to(&bench, &["counter.event.>"], 18).await, (10, 0, 0));
}

async fn acks_of_a_deleted_stream_settle_no_message_of_its_successor(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    bench.send(Uuid::now_v7(), "OLD", Mode::Slow).await;
    eventually("the old one is being handled", || async { bench.deliveries().await == 1 }).await;
    delete_and_provision(&bench, "COMMANDS").await;
    bench.send(Uuid::now_v7(), "NEW", Mode::Slow).await;
    eventually("the old one is handled", || async { bench.total("OLD").await == 1 }).await;
    // Both are the first message of their stream. The service handles the new one now.
    eventually("the new one is delivered", || async { bench.deliveries().await == 1 }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let consumer = bench.stream("COMMANDS").await.consumer_info("counter-service").await.unwrap();
    assert_eq!((bench.total("NEW").await, consumer.num_ack_pending), (0, 1));
    bench.settled().await;
    assert_eq!((bench.total("OLD").await, bench.total("NEW").await), (1, 1));
}

async fn settled_timers_are_not_restored(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    let pending = Uuid::now_v7();
    for (id, key, mode) in [
        (Uuid::now_v7(), "cancelled", Mode::ScheduleLater),
        (Uuid::now_v7(), "delivered", Mode::ScheduleLater),
        (Uuid::now_v7(), "replaced", Mode::ScheduleLater),
        (pending, "replaced", Mode::ScheduleLater),
        (Uuid::now_v7(), "cancelled", Mode::Cancel),
    ] {
        bench.send(id, key, mode).await;
        bench.settled().await;
    }
    // As after its delivery: the inbox has the id of the message that set the timer.
    let rows = outbox::entity::Entity::find().all(&bench.db).await.unwrap();
    let delivered = rows.iter().find(|row| row.subject.ends_with("delivered")).unwrap().message_id;
    let backend = bench.db.get_database_backend();
    // Of now: the service deletes old ones.
    let now = unix_millis(OffsetDateTime::now_utc());
    let insert = "INSERT INTO inbox VALUES ($1, $2)";
    let mark = Statement::from_sql_and_values(backend, insert, [delivered.into(), now.into()]);
    bench.db.execute_raw(mark).await.unwrap();

    delete_and_provision(&bench, "TIMERS").await;
    assert_eq!(republish(&bench, &["counter.schedule.>", "counter.timer.>"]).await, (1, 0, 4));
    let restored = messages(&bench, "TIMERS").await;
    let subjects: Vec<_> = restored.iter().map(|(subject, _)| subject.as_str()).collect();
    assert_eq!(subjects, ["counter.schedule.ring.replaced"]);
    let timers = bench.stream("TIMERS").await;
    let timer = timers.get_last_raw_message_by_subject("counter.schedule.ring.replaced").await.unwrap();
    assert_eq!(timer.headers.get("ce-causationid").unwrap().as_str(), pending.to_string());
}

async fn redriven_dead_letters_are_not_restored(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    for key in ["K1", "K2"] {
        bench.send(Uuid::now_v7(), key, Mode::Barred).await;
    }
    eventually("both are dead-lettered", || async { bench.messages(STREAM_NAME).await == 2 }).await;
    bench.settled().await;
    bench.db.execute_unprepared("INSERT INTO allowed VALUES ('K1')").await.unwrap();
    assert_eq!(redrive(&bench, 1, false).await, Outcome::Handled);
    delete_and_provision(&bench, STREAM_NAME).await;
    assert_eq!(republish(&bench, &["dead-letter.>"]).await, (1, 0, 1));
    assert_eq!(messages(&bench, STREAM_NAME).await[0].0, "dead-letter.counter-service.rejected.K2");
    bench.db.execute_unprepared("INSERT INTO allowed VALUES ('K2')").await.unwrap();
    assert_eq!(redrive(&bench, 1, false).await, Outcome::Handled);
}

async fn redrive(bench: &Bench, sequence: u64, force: bool) -> Outcome {
    let body = serde_json::to_vec(&redrive::Request { sequences: vec![sequence], force }).unwrap();
    let reply = bench.js.client().request(redrive::subject("counter-service"), body.into()).await.unwrap();
    let mut reports: Vec<Report> = serde_json::from_slice(&reply.payload).unwrap();
    reports.remove(0).outcome
}

async fn a_republished_message_beyond_the_dedup_window_is_dead_lettered_and_handled_only_if_forced(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    // The old message is from before the dedup window, so it is unknown whether it was handled.
    let (old, young) = (Uuid::now_v7(), Uuid::now_v7());
    let mut republished = headers(old, "K1");
    republished.insert(REPUBLISHED, "2026-02-02T03:04:05Z");
    bench.send_raw("counter.command.add.K1", republished, r#"{"mode":"add"}"#).await;
    let mut republished = headers(young, "K2");
    republished.insert(REPUBLISHED, "2026-02-02T03:04:05Z");
    let now = choreography::envelope::rfc3339(OffsetDateTime::now_utc());
    republished.insert("ce-time", now.as_str());
    bench.send_raw("counter.command.add.K2", republished, r#"{"mode":"add"}"#).await;
    let dead_letter = bench.dead_letter().await;
    assert_eq!(dead_letter.subject.as_str(), "dead-letter.counter-service.dedup-window-expired.K1");
    bench.settled().await;
    assert_eq!((bench.total("K1").await, bench.total("K2").await), (0, 1));
    assert!(matches!(redrive(&bench, 1, false).await, Outcome::Refused { .. }));
    assert_eq!(redrive(&bench, 1, true).await, Outcome::Handled);
    assert_eq!(redrive(&bench, 1, true).await, Outcome::AlreadyHandled);
    assert_eq!(bench.total("K1").await, 1);
}
