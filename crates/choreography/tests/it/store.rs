//! The event store, retention, and rows of earlier versions.

use std::time::Duration;

use async_nats::HeaderMap;
use choreography::envelope::REPUBLISHED;
use choreography::envelope::unix_millis;
use choreography::{Cause, Outgoing, Topology, event_store, inbox, outbox, outbox_pending};
use sea_orm::{ConnectionTrait, EntityTrait, PaginatorTrait, Statement, TransactionTrait};
use sea_orm_migration::MigratorTrait;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::counter::{Migrator, Mode};
use crate::on_both_databases;
use crate::support::{Bench, Engine, TOPOLOGY, eventually};

on_both_databases!(
    two_writers_of_the_same_version_conflict,
    many_histories_are_loaded_at_once_each_in_order,
    rows_older_than_the_retention_are_deleted_and_others_are_kept,
    a_redelivery_extends_the_retention_of_the_inbox_row,
    an_event_pending_for_long_is_published_with_the_header_of_republished_ones,
    a_malformed_message_at_the_sequence_of_another_one_is_a_separate_dead_letter,
    messages_pending_in_an_earlier_version_are_pending_after_the_upgrade,
);

fn event(aggregate: &str, version: i64) -> Outgoing {
    let cause = Cause { id: Uuid::now_v7(), correlation_id: Uuid::now_v7(), trace_parent: None, auth: None };
    let subject = format!("thing.event.changed.{aggregate}");
    Outgoing::new(cause, subject, "thing.changed.v1", aggregate, Some(version), b"{\"a\":1}".to_vec())
}

async fn two_writers_of_the_same_version_conflict(engine: Engine) {
    let bench = Bench::new(engine).await;
    event_store::append(&bench.db, &[event("A", 1), event("A", 2)], 0).await.unwrap();
    assert!(event_store::append(&bench.db, &[event("A", 2)], 0).await.is_err());
    let tx = bench.db.begin().await.unwrap();
    assert!(event_store::append(&tx, &[event("B", 1), event("A", 1)], 0).await.is_err());
    tx.rollback().await.unwrap();
    let histories = event_store::load(&bench.db, &["A".to_owned(), "B".to_owned()]).await.unwrap();
    assert_eq!(histories["A"].len(), 2);
    assert!(!histories.contains_key("B"), "a transaction with a conflict writes nothing");
}

async fn many_histories_are_loaded_at_once_each_in_order(engine: Engine) {
    let bench = Bench::new(engine).await;
    let names: Vec<String> = (0..300).map(|n| format!("A{n}")).collect();
    let events: Vec<_> = (1..=3).rev().flat_map(|v| names.iter().map(move |n| event(n, v))).collect();
    event_store::append(&bench.db, &events, 7).await.unwrap();
    let mut ids = names.clone();
    ids.push("absent".to_owned());
    let histories = event_store::load(&bench.db, &ids).await.unwrap();
    assert_eq!(histories.len(), 300);
    for name in &names {
        let versions: Vec<i64> = histories[name].iter().map(|row| row.version).collect();
        assert_eq!(versions, [1, 2, 3], "{name}");
    }
    assert_eq!(histories["A0"][0].body, "{\"a\":1}");
    assert_eq!(histories["A0"][0].recorded_at, 7);
}

async fn rows_older_than_the_retention_are_deleted_and_others_are_kept(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    bench.settled().await;
    service.stop().await.0.unwrap();
    // From 1970: a handled message, a published outbox row, and a pending one, which no stream accepts.
    let backend = bench.db.get_database_backend();
    let (old, outbox_pending) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let inserts = [
        Statement::from_sql_and_values(backend, "INSERT INTO inbox VALUES ($1, 5)", [old.into()]),
        Statement::from_sql_and_values(
            backend,
            "INSERT INTO outbox (row_id, message_id, subject, headers, body) VALUES ($1, $1, 'a.event.b.c', '[]', $2)",
            [old.into(), b"{}".to_vec().into()],
        ),
        Statement::from_sql_and_values(
            backend,
            "INSERT INTO outbox (row_id, message_id, subject, headers, body) VALUES ($1, $1, 'a.event.b.c', '[]', $2)",
            [outbox_pending.into(), b"{}".to_vec().into()],
        ),
        Statement::from_sql_and_values(
            backend,
            "INSERT INTO outbox_pending (first_row_id, last_row_id) VALUES ($1, $1)",
            [outbox_pending.into()],
        ),
    ];
    for statement in inserts {
        bench.db.execute_raw(statement).await.unwrap();
    }
    let count = async |table: &str| -> i64 {
        let select = Statement::from_string(backend, format!("SELECT COUNT(*) AS n FROM {table}"));
        bench.db.query_one_raw(select).await.unwrap().unwrap().try_get("", "n").unwrap()
    };
    assert_eq!((count("inbox").await, count("outbox").await), (2, 3));
    let _service = bench.launch(&bench.options()).await;
    let of_id = async |id: Uuid| -> u64 { outbox::entity::Entity::find_by_id(id).count(&bench.db).await.unwrap() };
    eventually("the old rows are gone", || async { (count("inbox").await, of_id(old).await) == (1, 0) }).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((count("inbox").await, count("outbox").await), (1, 2), "the new rows are kept");
    assert_eq!(of_id(outbox_pending).await, 1, "a pending row is kept, however old");
}

async fn messages_pending_in_an_earlier_version_are_pending_after_the_upgrade(engine: Engine) {
    let bench = Bench::new(engine).await;
    let backend = bench.db.get_database_backend();
    for step in [
        "DROP TABLE outbox_pending",
        "ALTER TABLE outbox ADD COLUMN published_at bigint",
        "CREATE INDEX outbox_not_published ON outbox (row_id) WHERE published_at IS NULL",
        "DELETE FROM seaql_migrations WHERE version IN ('messaging_0004_outbox_pending', 'messaging_0007_outbox_owners')",
    ] {
        bench.db.execute_unprepared(step).await.unwrap();
    }
    for (id, published_at) in [(1, Some(5)), (2, None), (3, None)] {
        let insert = "INSERT INTO outbox (row_id, message_id, subject, headers, body, published_at) \
                      VALUES ($1, $1, 'counter.event.added.K1', '[]', $2, $3)";
        let values = [Uuid::from_u128(id).into(), b"{}".to_vec().into(), published_at.into()];
        bench.db.execute_raw(Statement::from_sql_and_values(backend, insert, values)).await.unwrap();
    }
    Migrator::up(&bench.db, None).await.unwrap();
    assert_eq!(outbox_pending::depth(&bench.db).await.unwrap(), 2);
    let _service = bench.start().await;
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, 2);
}

async fn a_redelivery_extends_the_retention_of_the_inbox_row(engine: Engine) {
    let bench = Bench::new(engine).await;
    let (id, backend) = (Uuid::now_v7(), bench.db.get_database_backend());
    let millis = |ago: i64| unix_millis(OffsetDateTime::now_utc()) - ago * 1000;
    let insert = "INSERT INTO inbox VALUES ($1, $2)";
    let insert = Statement::from_sql_and_values(backend, insert, [id.into(), millis(7000).into()]);
    bench.db.execute_raw(insert).await.unwrap();
    let _service = bench.start().await;
    bench.send(id, "K1", Mode::Add).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 0, "it is a repeated message");
    let row = inbox::entity::Entity::find_by_id(id).one(&bench.db).await.unwrap().unwrap();
    assert!(row.received_at > millis(60), "the stream can deliver the second copy for another hour");
}

async fn an_event_pending_for_long_is_published_with_the_header_of_republished_ones(engine: Engine) {
    let bench = Bench::new(engine).await;
    let backend = bench.db.get_database_backend();
    // The streams keep messages for one hour, the inboxes keep ids for two.
    for (seconds, key) in [(600, "YOUNG"), (4000, "OLD")] {
        let written = unix_millis(OffsetDateTime::now_utc()) - seconds * 1000;
        let row_id = Uuid::from_u128((u128::try_from(written).unwrap() << 80) | 0x7000_8000_0000_0000_0000);
        let insert =
            "INSERT INTO outbox (row_id, message_id, subject, headers, body) VALUES ($1, $1, $2, '[]', $3)";
        let values = [row_id.into(), format!("counter.event.added.{key}").into(), b"{}".to_vec().into()];
        bench.db.execute_raw(Statement::from_sql_and_values(backend, insert, values)).await.unwrap();
        let insert = "INSERT INTO outbox_pending (first_row_id, last_row_id) VALUES ($1, $1)";
        bench.db.execute_raw(Statement::from_sql_and_values(backend, insert, [row_id.into()])).await.unwrap();
    }
    let _service = bench.start().await;
    bench.settled().await;
    let events = bench.stream("EVENTS").await;
    for (key, repeated) in [("YOUNG", false), ("OLD", true)] {
        let event = events.get_last_raw_message_by_subject(&format!("counter.event.added.{key}")).await.unwrap();
        assert_eq!(event.headers.get(REPUBLISHED).is_some(), repeated, "{key}");
    }
}

async fn a_malformed_message_at_the_sequence_of_another_one_is_a_separate_dead_letter(engine: Engine) {
    let bench = Bench::new(engine).await;
    for dead_letters in 1..=2 {
        let service = bench.start().await;
        bench.send_raw("counter.command.add.K1", HeaderMap::new(), "not a message").await;
        eventually("the message is a dead letter", || async {
            bench.messages("DEAD_LETTERS").await == dead_letters
        })
        .await;
        service.stop().await.0.unwrap();
        // The sequence of a new stream starts at 1 again.
        bench.js.delete_stream("COMMANDS").await.unwrap();
        Topology::parse(TOPOLOGY).unwrap().provision(&bench.js, 1).await.unwrap();
    }
}
