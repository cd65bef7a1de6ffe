//! The redrive of dead letters.

use choreography::dead_letter::STREAM_NAME;
use choreography::redrive::{Outcome, Report, Request, subject};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use crate::counter::{Mode, NextCounter};
use crate::on_both_databases;
use crate::support::{Bench, Engine, eventually, headers, run};

on_both_databases!(
    a_dead_letter_that_can_be_handled_now_is_handled_once_however_often_it_is_redriven,
    a_dead_letter_that_fails_again_remains_and_its_neighbours_are_handled,
    a_dead_letter_whose_transaction_does_not_commit_can_be_redriven_again,
    two_instances_redrive_a_dead_letter_once,
    a_dead_letter_with_a_mismatched_source_is_handled_under_its_own_id,
    a_dead_letter_older_than_the_dedup_window_is_refused_unless_forced_and_then_handled_once,
    a_message_that_is_not_a_dead_letter_of_the_service_is_gone,
);

pub(crate) async fn redrive(bench: &Bench, sequences: &[u64], force: bool) -> Vec<Outcome> {
    let request = Request { sequences: sequences.to_vec(), force };
    let body = serde_json::to_vec(&request).unwrap();
    let reply = bench.js.client().request(subject("counter-service"), body.into()).await.unwrap();
    let reports: Vec<Report> = serde_json::from_slice(&reply.payload)
        .unwrap_or_else(|_| panic!("{:?} {:?}", reply.payload, reply.headers));
    assert_eq!(reports.iter().map(|report| report.sequence).collect::<Vec<_>>(), sequences);
    reports.into_iter().map(|report| report.outcome).collect()
}

async fn dead_letters(bench: &Bench, count: u64) {
    eventually("there are dead letters", || async { bench.messages(STREAM_NAME).await == count }).await;
    bench.settled().await;
}

async fn allow(bench: &Bench, key: &str) {
    bench.db.execute_unprepared(&format!("INSERT INTO allowed VALUES ('{key}')")).await.unwrap();
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed { reason: reason.to_owned() }
}

async fn a_dead_letter_that_can_be_handled_now_is_handled_once_however_often_it_is_redriven(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::Barred).await;
    dead_letters(&bench, 1).await;
    assert_eq!(redrive(&bench, &[1], false).await, [failed("K1 is barred")]);
    allow(&bench, "K1").await;
    assert_eq!(redrive(&bench, &[1], false).await, [Outcome::Handled]);
    assert_eq!(redrive(&bench, &[1], false).await, [Outcome::AlreadyHandled]);
    assert_eq!(redrive(&bench, &[1], true).await, [Outcome::AlreadyHandled]);
    // The message itself, delivered again, is a duplicate.
    bench.send(id, "K1", Mode::Barred).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
    let event = bench.stream("EVENTS").await.get_raw_message(1).await.unwrap();
    assert_eq!(
        event.headers.get("ce-causationid").unwrap().as_str(),
        id.to_string(),
        "the message has kept its id"
    );
    assert_eq!(bench.messages("EVENTS").await, 1);
    assert_eq!(bench.messages(STREAM_NAME).await, 1);
}

async fn a_dead_letter_that_fails_again_remains_and_its_neighbours_are_handled(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    for key in ["K1", "K2", "K3"] {
        bench.send(Uuid::now_v7(), key, Mode::Barred).await;
    }
    dead_letters(&bench, 3).await;
    allow(&bench, "K1").await;
    allow(&bench, "K3").await;
    let outcomes = redrive(&bench, &[1, 2, 3], false).await;
    assert_eq!(outcomes, [Outcome::Handled, failed("K2 is barred"), Outcome::Handled]);
    allow(&bench, "K2").await;
    let outcomes = redrive(&bench, &[3, 2, 1], false).await;
    assert_eq!(outcomes, [Outcome::AlreadyHandled, Outcome::Handled, Outcome::AlreadyHandled]);
    for key in ["K1", "K2", "K3"] {
        assert_eq!(bench.total(key).await, 1);
    }
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, 3);
}

async fn a_dead_letter_whose_transaction_does_not_commit_can_be_redriven_again(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    bench.send(Uuid::now_v7(), "K1", Mode::Barred).await;
    dead_letters(&bench, 1).await;
    allow(&bench, "K1").await;
    // The last statement of the transaction fails: the changes of the handler and the cleared mark are rolled back.
    bench.db.execute_unprepared("ALTER TABLE outbox RENAME TO elsewhere").await.unwrap();
    assert!(matches!(redrive(&bench, &[1], false).await[..], [Outcome::Unknown { .. }]));
    assert_eq!(bench.total("K1").await, 0);
    bench.db.execute_unprepared("ALTER TABLE elsewhere RENAME TO outbox").await.unwrap();
    assert_eq!(redrive(&bench, &[1], false).await, [Outcome::Handled]);
    assert_eq!(bench.total("K1").await, 1);
}

async fn two_instances_redrive_a_dead_letter_once(engine: Engine) {
    let bench = Bench::new(engine).await;
    let first = bench.start().await;
    let keys: Vec<String> = (0..50).map(|n| format!("K{n}")).collect();
    for key in &keys {
        bench.send(Uuid::now_v7(), key, Mode::Barred).await;
    }
    dead_letters(&bench, 50).await;
    for key in &keys {
        allow(&bench, key).await;
    }
    let _second = bench.start().await;
    let all: Vec<u64> = (1..=50).collect();
    let requests = (0..8).map(|_| redrive(&bench, &all, false));
    let outcomes = futures::future::join_all(requests).await;
    let handled = outcomes.iter().flatten().filter(|outcome| **outcome == Outcome::Handled).count();
    assert_eq!(handled, 50, "{outcomes:?}");
    bench.settled().await;
    for key in &keys {
        assert_eq!(bench.total(key).await, 1);
    }
    assert_eq!(bench.messages("EVENTS").await, 50);
    first.crash().await;
}

async fn a_dead_letter_with_a_mismatched_source_is_handled_under_its_own_id(engine: Engine) {
    let bench = Bench::new(engine).await;
    // Two messages of a producer that this release does not know; another message has the id of the first.
    let (used, own) = (Uuid::now_v7(), Uuid::now_v7());
    for (id, key) in [(used, "K1"), (own, "K2")] {
        let mut mismatched = headers(id, key);
        mismatched.insert("ce-source", "/successor");
        bench.send_raw(&format!("counter.command.add.{key}"), mismatched, r#"{"mode":"add"}"#).await;
    }
    bench.send(used, "K1", Mode::Add).await;
    let service = bench.start().await;
    dead_letters(&bench, 2).await;
    let outcomes = redrive(&bench, &[1, 2], false).await;
    assert!(matches!(&outcomes[..], [Outcome::Failed { .. }, Outcome::Failed { .. }]), "{outcomes:?}");
    service.stop().await.0.unwrap();

    let next = run(bench.service(NextCounter).await, &bench.options());
    eventually("the next release is ready", || async { next.readiness().await.0 }).await;
    assert_eq!(redrive(&bench, &[1, 2], false).await, [Outcome::AlreadyHandled, Outcome::Handled]);
    assert_eq!(redrive(&bench, &[1, 2], false).await, [Outcome::AlreadyHandled, Outcome::AlreadyHandled]);
    assert_eq!((bench.total("K1").await, bench.total("K2").await), (1, 1));
}

async fn a_dead_letter_older_than_the_dedup_window_is_refused_unless_forced_and_then_handled_once(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    bench.send(Uuid::now_v7(), "K1", Mode::Barred).await;
    dead_letters(&bench, 1).await;
    allow(&bench, "K1").await;
    // As after the retention.
    bench.db.execute_unprepared("DELETE FROM delivery_issues").await.unwrap();
    bench.db.execute_unprepared("DELETE FROM inbox").await.unwrap();
    let refused = redrive(&bench, &[1], false).await;
    assert!(matches!(&refused[..], [Outcome::Refused { reason }] if reason.contains("force")), "{refused:?}");
    assert_eq!(bench.total("K1").await, 0);
    assert_eq!(redrive(&bench, &[1], true).await, [Outcome::Handled]);
    assert_eq!(redrive(&bench, &[1], true).await, [Outcome::AlreadyHandled]);
    assert_eq!(bench.total("K1").await, 1);
}

async fn a_message_that_is_not_a_dead_letter_of_the_service_is_gone(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    bench.send_raw("dead-letter.counter-service-2.rejected.K1", headers(Uuid::now_v7(), "K1"), "{}").await;
    bench.send_raw("dead-letter.counter-service.rejected.K1", headers(Uuid::now_v7(), "K1"), "{}").await;
    assert_eq!(redrive(&bench, &[2, 1, 77], false).await, [Outcome::Gone, Outcome::Gone, Outcome::Gone]);
    for sequences in [vec![], vec![1, 1], (1..300).collect()] {
        let body = serde_json::to_vec(&Request { sequences, force: false }).unwrap();
        let reply = bench.js.client().request(subject("counter-service"), body.into()).await.unwrap();
        assert_eq!(reply.headers.unwrap().get("Nats-Service-Error-Code").unwrap().as_str(), "400");
    }
}
