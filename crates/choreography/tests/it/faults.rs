//! Faults of processes, broker, and database: no message is lost or handled twice.

use std::time::Duration;

use choreography::{ServiceOptions, Topology, outbox, outbox_pending, owner};
use choreography_test::TestPostgres;
use futures::StreamExt;
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, TransactionTrait};
use time::OffsetDateTime;
use uuid::{NoContext, Timestamp, Uuid};

use crate::counter::Mode;
use crate::on_both_databases;
use crate::support::{Bench, Engine, TOPOLOGY, eventually};

on_both_databases!(
    a_crash_at_any_moment_loses_and_repeats_no_message,
    two_instances_share_the_work_and_handle_each_message_once,
    a_shutdown_under_load_finishes_its_batch_and_ends_in_time,
    outbox_messages_pending_after_a_crash_are_published_at_the_next_start,
    pending_messages_of_a_clock_that_was_ahead_are_published_at_once,
    a_restart_of_the_broker_loses_no_message,
    a_broker_killed_with_hundreds_of_unacknowledged_publishes_blocks_no_others,
    messages_that_could_not_be_published_are_published_later_without_a_restart,
    of_a_batch_only_the_messages_that_the_stream_refused_stay_pending,
    an_error_at_commit_is_attributed_to_its_message,
    a_message_is_not_acked_before_its_transaction_is_committed,
    state_whose_event_cannot_be_written_is_not_written_either,
);

async fn a_crash_at_any_moment_loses_and_repeats_no_message(engine: Engine) {
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
        assert!(!service.handler.attempts.lock().unwrap().is_empty(), "an instance has handled nothing");
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
    // Everything committed was published before the service ended.
    assert_eq!(bench.messages("EVENTS").await, u64::try_from(bench.total("K1").await).unwrap());
    assert_eq!(outbox_pending::depth(&bench.db).await.unwrap(), 0);

    let _service = bench.start().await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 400);
}

async fn outbox_messages_pending_after_a_crash_are_published_at_the_next_start(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    bench.settled().await;
    service.stop().await.0.unwrap();
    // As if it had crashed between commit and publish, before the stream got the event.
    bench.stream("EVENTS").await.purge().await.unwrap();
    bench.mark_all_pending().await;
    bench
        .db
        .execute_unprepared(
            "UPDATE outbox SET message_id = message_id, headers = REPLACE(headers, 'Nats-Msg-Id', 'X-Was')",
        )
        .await
        .unwrap();
    let _service = bench.start().await;
    // The service is ready only after the recovery scan of the outbox.
    assert_eq!(bench.messages("EVENTS").await, 1);
    bench.settled().await;
}

async fn pending_messages_of_a_clock_that_was_ahead_are_published_at_once(engine: Engine) {
    let bench = Bench::new(engine).await;
    let write = async |owner: Option<Uuid>| {
        let tomorrow = OffsetDateTime::now_utc() + Duration::from_secs(24 * 3600);
        let seconds = u64::try_from(tomorrow.unix_timestamp()).unwrap();
        let row_id = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0));
        let row = outbox::entity::ActiveModel {
            row_id: Set(row_id),
            message_id: Set(Uuid::now_v7()),
            subject: Set("counter.event.added.K1".to_owned()),
            headers: Set("[]".to_owned()),
            body: Set(b"{}".to_vec()),
        };
        outbox::entity::Entity::insert(row).exec_without_returning(&bench.db).await.unwrap();
        let range = outbox_pending::entity::ActiveModel {
            first_row_id: Set(row_id),
            last_row_id: Set(row_id),
            owner: Set(owner),
            ..Default::default()
        };
        outbox_pending::entity::Entity::insert(range).exec_without_returning(&bench.db).await.unwrap();
    };
    write(None).await;
    let _service = bench.start().await;
    assert_eq!(bench.messages("EVENTS").await, 1, "at the start");
    let instance = owner::entity::Entity::find().one(&bench.db).await.unwrap().unwrap();
    write(Some(instance.owner_id)).await;
    eventually("later, too", || async { bench.messages("EVENTS").await == 2 }).await;
    bench.settled().await;
}

async fn a_restart_of_the_broker_loses_no_message(engine: Engine) {
    let mut bench = Bench::new(engine).await;
    let service = bench.start().await;
    for _ in 0..200 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    bench.nats.kill().unwrap();
    eventually("the service is not ready", || async { !service.readiness().await.0 }).await;
    bench.nats.restart().await.unwrap();
    eventually("the service is ready again", || async { service.readiness().await.0 }).await;
    eventually("the tester is connected again", || async { bench.js.query_account().await.is_ok() }).await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 201);
    assert_eq!(bench.messages("EVENTS").await, 201);
}

async fn a_broker_killed_with_hundreds_of_unacknowledged_publishes_blocks_no_others(engine: Engine) {
    let mut bench = Bench::new(engine).await;
    let _service = bench.start().await;
    for _ in 0..200 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    bench.settled().await;
    bench.stream("EVENTS").await.purge().await.unwrap();
    // After this time, the recovery scan includes them.
    tokio::time::sleep(Duration::from_secs(11)).await;
    // The kernel of the paused server buffers the messages of the scan, which are never acknowledged.
    bench.nats.pause().unwrap();
    let unsent = "UPDATE outbox SET headers = REPLACE(headers, 'Nats-Msg-Id', 'X-Was')";
    bench.db.execute_unprepared(unsent).await.unwrap();
    bench.mark_all_pending().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    bench.nats.kill().unwrap();
    bench.nats.restart().await.unwrap();
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, 200);
}

async fn messages_that_could_not_be_published_are_published_later_without_a_restart(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    // Without the stream, events are refused; and neither a restart nor a reconnect triggers the relay later.
    bench.js.delete_stream("EVENTS").await.unwrap();
    for _ in 0..20 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    eventually("the messages are handled", || async { bench.total("K1").await == 20 }).await;
    eventually("readiness reports the refused subject", || async {
        let (ready, text) = service.readiness().await;
        !ready && text.contains("counter.event.added is refused: no stream accepts the message")
    })
    .await;
    assert_eq!(outbox_pending::depth(&bench.db).await.unwrap(), 20);
    Topology::parse(TOPOLOGY).unwrap().provision(&bench.js, 1).await.unwrap();
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, 20);
    eventually("the service is ready again", || async { service.readiness().await.0 }).await;
}

async fn an_error_at_commit_is_attributed_to_its_message(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    let id = Uuid::now_v7();
    for _ in 0..20 {
        bench.send(Uuid::now_v7(), "K2", Mode::Add).await;
    }
    bench.send(id, "K1", Mode::BreakCommit).await;
    for _ in 0..20 {
        bench.send(Uuid::now_v7(), "K2", Mode::Add).await;
    }
    let dead_letter = bench.dead_letter().await;
    assert_eq!(dead_letter.headers.get("Dead-Letter-Reason").unwrap().as_str(), "max-attempts-exceeded");
    bench.settled().await;
    assert_eq!((bench.total("K1").await, bench.total("K2").await), (0, 40));
    assert_eq!(bench.messages("EVENTS").await, 40);
    assert!(service.readiness().await.0, "this is not an outage of the database");
}

async fn a_message_is_not_acked_before_its_transaction_is_committed(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.launch(&ServiceOptions { max_attempts: 8, ..bench.options() }).await;
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::BreakCommit).await;
    let retried =
        || async { service.handler.attempts.lock().unwrap().get(&id).is_some_and(|attempts| attempts.len() > 1) };
    eventually("its commit has failed", retried).await;
    let consumer = bench.stream("COMMANDS").await.consumer_info("counter-service").await.unwrap();
    assert_eq!(consumer.num_ack_pending, 1);
    assert_eq!(bench.total("K1").await, 0);
    assert_eq!(bench.messages("EVENTS").await, 0);

    bench.db.execute_unprepared("INSERT INTO allowed VALUES ('K1')").await.unwrap();
    eventually("the message is handled", || async { bench.total("K1").await == 1 }).await;
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, 1);
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
}

async fn state_whose_event_cannot_be_written_is_not_written_either(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    bench.db.execute_unprepared("ALTER TABLE outbox RENAME TO elsewhere").await.unwrap();
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::Add).await;
    let retried =
        || async { service.handler.attempts.lock().unwrap().get(&id).is_some_and(|attempts| attempts.len() > 1) };
    eventually("its transaction has failed", retried).await;
    assert_eq!(bench.total("K1").await, 0);

    bench.db.execute_unprepared("ALTER TABLE elsewhere RENAME TO outbox").await.unwrap();
    eventually("the message is handled", || async { bench.total("K1").await == 1 }).await;
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, 1);
    assert_eq!(bench.deliveries().await, 1, "a failure of the database is retried without redelivery");
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_of_a_transaction_uses_up_no_attempts() {
    let bench = Bench::new(Engine::Postgres).await;
    let service = bench.start().await;
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::LoseConnection).await;
    eventually("the message is handled", || async { bench.total("K1").await == 1 }).await;
    bench.settled().await;
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
    // More attempts than a message may fail.
    assert_eq!(service.handler.attempts.lock().unwrap()[&id].len(), 5);
}

#[tokio::test]
async fn a_pull_that_stalls_while_messages_are_pending_is_reported() {
    let bench = Bench::new(Engine::Sqlite).await;
    let service = bench.start().await;
    let commands = bench.stream("COMMANDS").await;
    let later = OffsetDateTime::now_utc() + Duration::from_secs(3600);
    // Heartbeats continue, and the connection works.
    commands.pause_consumer("counter-service", later).await.unwrap();
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    eventually("readiness reports the stalled pull", || async {
        let (ready, text) = service.readiness().await;
        !ready && text.contains("1 messages pending and none has arrived")
    })
    .await;
    commands.resume_consumer("counter-service").await.unwrap();
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
    eventually("the service is ready again", || async { service.readiness().await.0 }).await;
}

#[tokio::test]
async fn a_restart_of_the_database_uses_up_no_attempts() {
    let mut postgres = TestPostgres::start().await.unwrap();
    let bench = Bench::on(postgres.create_database().await.unwrap()).await;
    let service = bench.start().await;
    postgres.kill().unwrap();
    for _ in 0..50 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    eventually("the service is not ready", || async { !service.readiness().await.0 }).await;
    // Longer than three attempts would take.
    tokio::time::sleep(Duration::from_secs(3)).await;
    postgres.restart().await.unwrap();
    eventually("the service is ready again", || async { service.readiness().await.0 }).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 50);
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
    service.stop().await.0.unwrap();
}

#[tokio::test]
async fn a_batch_that_awaits_its_database_longer_than_the_ack_wait_is_not_redelivered() {
    let mut postgres = TestPostgres::start().await.unwrap();
    let bench = Bench::on(postgres.create_database().await.unwrap()).await;
    let service = bench.start().await;
    postgres.kill().unwrap();
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    // Twice the ack-wait.
    tokio::time::sleep(Duration::from_secs(20)).await;
    postgres.restart().await.unwrap();
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
    assert_eq!(bench.deliveries().await, 1);
    service.stop().await.0.unwrap();
}

#[tokio::test]
async fn a_service_writes_to_a_database_that_is_no_longer_full() {
    let bench = Bench::new(Engine::Sqlite).await;
    // More often than the pool has connections, so that each of them is used.
    for _ in 0..10 {
        let full = bench.db.begin().await.unwrap();
        // SQLite uses the present number of pages as minimum.
        full.execute_unprepared("PRAGMA max_page_count = 1").await.unwrap();
        let refused = full.execute_unprepared("INSERT INTO counter VALUES (hex(zeroblob(1000000)), 1)").await;
        assert!(refused.unwrap_err().to_string().contains("full"));
        drop(full);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..10 {
        let rolled_back = bench.db.begin().await.unwrap();
        rolled_back.execute_unprepared("INSERT INTO counter VALUES ('K0', 1)").await.unwrap();
        drop(rolled_back);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let _service = bench.start().await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    eventually("the message is handled", || async { bench.total("K1").await == 1 }).await;
}

#[tokio::test]
async fn a_published_message_that_cannot_be_marked_is_not_published_repeatedly() {
    let bench = Bench::new(Engine::Sqlite).await;
    bench.js.delete_stream("EVENTS").await.unwrap();
    let service = bench.start().await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    eventually("the message is handled", || async { bench.total("K1").await == 1 }).await;
    service.crash().await;
    Topology::parse(TOPOLOGY).unwrap().provision(&bench.js, 1).await.unwrap();
    let refuse = "CREATE TRIGGER no_marks BEFORE DELETE ON outbox_pending BEGIN SELECT RAISE(ABORT, 'no'); END";
    bench.db.execute_unprepared(refuse).await.unwrap();
    let mut published = bench.js.client().subscribe("counter.event.>").await.unwrap();
    let service = bench.launch(&bench.options()).await;
    published.next().await.unwrap();
    let again = tokio::time::timeout(Duration::from_secs(2), published.next()).await;
    assert!(again.is_err(), "it is published again");
    assert!(service.readiness().await.1.contains("cannot be written"));
    bench.db.execute_unprepared("DROP TRIGGER no_marks").await.unwrap();
    bench.settled().await;
}

async fn of_a_batch_only_the_messages_that_the_stream_refused_stay_pending(engine: Engine) {
    let bench = Bench::new(engine).await;
    let mut config = bench.stream("EVENTS").await.cached_info().config.clone();
    config.subjects = vec!["counter.event.added.K1".to_owned()];
    bench.js.update_stream(config).await.unwrap();
    for n in 0..20 {
        bench.send(Uuid::now_v7(), if n % 2 == 0 { "K1" } else { "K2" }, Mode::Add).await;
    }
    let _service = bench.launch(&bench.options()).await;
    eventually("only refused messages are pending", || async {
        let batches = outbox_pending::entity::Entity::find().all(&bench.db).await.unwrap();
        batches.len() == 10 && batches.iter().all(|range| range.first_row_id == range.last_row_id)
    })
    .await;
    assert_eq!(bench.messages("EVENTS").await, 10);
    assert_eq!(outbox_pending::depth(&bench.db).await.unwrap(), 10);
    assert!(outbox_pending::oldest(&bench.db).await.unwrap().is_some());
    Topology::parse(TOPOLOGY).unwrap().provision(&bench.js, 1).await.unwrap();
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, 20);
    assert_eq!(outbox_pending::oldest(&bench.db).await.unwrap(), None);
}
