//! The handling of deliveries.

use std::time::Duration;

use async_nats::HeaderMap;
use choreography::{Cause, Outgoing, Topology};
use uuid::Uuid;

use crate::counter::Mode;
use crate::on_both_databases;
use crate::support::{Bench, Engine, TOPOLOGY, eventually, headers};

on_both_databases!(
    a_message_is_handled_once_and_its_event_is_published,
    a_message_delivered_twice_changes_nothing_the_second_time,
    every_message_delivered_twice_is_handled_once,
    messages_are_handled_and_events_published_in_stream_order,
    an_undecodable_message_becomes_a_dead_letter_with_its_payload_untouched,
    a_message_from_another_source_becomes_a_dead_letter,
    poison_does_not_block_its_neighbours,
    a_subject_that_cannot_be_stored_or_published_unchanged_blocks_nothing,
    a_rejected_message_becomes_a_dead_letter_at_once,
    a_message_that_fails_is_retried_later_and_then_succeeds,
    a_message_that_always_fails_becomes_a_dead_letter_after_its_attempts,
    a_panic_of_the_handler_affects_only_its_message,
    a_dead_letter_has_no_header_that_the_server_would_act_upon,
    headers_of_nearly_the_maximum_size_stop_neither_the_event_nor_the_dead_letter,
    a_timer_is_delivered_when_due_and_not_after_it_was_cancelled,
);

async fn a_message_is_handled_once_and_its_event_is_published(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::Add).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);

    let events = bench.stream("EVENTS").await;
    assert_eq!(events.cached_info().state.messages, 1);
    let event = events.get_raw_message(1).await.unwrap();
    let header = |name: &str| event.headers.get(name).unwrap().as_str().to_owned();
    assert_eq!(event.subject.as_str(), "counter.event.added.K1");
    assert_eq!(header("ce-type"), "counter.added.v1");
    assert_eq!(header("ce-source"), "/counter-service");
    assert_eq!(header("ce-subject"), "K1");
    assert_eq!(header("ce-causationid"), id.to_string());
    assert_eq!(header("ce-correlationid"), id.to_string());
    assert_eq!(header("Nats-Msg-Id"), header("ce-id"));
    let (ended, took) = service.stop().await;
    ended.unwrap();
    assert!(took < Duration::from_secs(10));
}

async fn a_message_delivered_twice_changes_nothing_the_second_time(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    let id = Uuid::now_v7();
    for _ in 0..2 {
        bench.send(id, "K1", Mode::Add).await;
        bench.settled().await;
    }
    assert_eq!(bench.messages("COMMANDS").await, 2, "the stream has the message twice");
    assert_eq!(bench.total("K1").await, 1);
    assert_eq!(bench.messages("EVENTS").await, 1);
}

async fn every_message_delivered_twice_is_handled_once(engine: Engine) {
    let bench = Bench::new(engine).await;
    let ids: Vec<Uuid> = (0..300).map(|_| Uuid::now_v7()).collect();
    // Once in order and once in reverse: duplicates are in the same batch and in different ones.
    for id in ids.iter().chain(ids.iter().rev()) {
        bench.send(*id, &format!("K{}", id.as_u128() % 7), Mode::Add).await;
    }
    let service = bench.start().await;
    bench.settled().await;
    let mut total = 0;
    for key in 0..7 {
        total += bench.total(&format!("K{key}")).await;
    }
    assert_eq!(total, 300);
    assert_eq!(bench.messages("EVENTS").await, 300);
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
    let largest = *service.handler.largest_batch.lock().unwrap();
    assert!(largest > 16, "the largest batch had {largest} messages");
}

async fn messages_are_handled_and_events_published_in_stream_order(engine: Engine) {
    let bench = Bench::new(engine).await;
    let ids: Vec<Uuid> = (0..100).map(|_| Uuid::new_v4()).collect();
    for id in &ids {
        bench.send(*id, "K1", Mode::Add).await;
    }
    let service = bench.start().await;
    bench.settled().await;
    assert!(*service.handler.largest_batch.lock().unwrap() > 1, "there was no batch of several messages");
    assert_eq!(*service.handler.handled.lock().unwrap(), ids);
    let events = bench.stream("EVENTS").await;
    for (sequence, id) in (1..).zip(&ids) {
        let event = events.get_raw_message(sequence).await.unwrap();
        assert_eq!(event.headers.get("ce-causationid").unwrap().as_str(), id.to_string());
    }
}

async fn an_undecodable_message_becomes_a_dead_letter_with_its_payload_untouched(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    let poison = b"{\"mode\": \xff broken".to_vec();
    let id = Uuid::now_v7();
    bench.send_raw("counter.command.add.K1", headers(id, "K1"), poison.clone()).await;
    let dead_letter = bench.dead_letter().await;
    let header = |name: &str| dead_letter.headers.get(name).unwrap().as_str().to_owned();
    assert_eq!(dead_letter.subject.as_str(), "dead-letter.counter-service.undecodable.K1");
    assert_eq!(dead_letter.payload.as_ref(), poison);
    assert_eq!(header("Dead-Letter-Reason"), "undecodable");
    assert_eq!(header("Dead-Letter-Stream"), "COMMANDS");
    assert_eq!(header("Dead-Letter-Sequence"), "1");
    assert_eq!(header("Dead-Letter-Subject"), "counter.command.add.K1");
    assert_eq!(header("Dead-Letter-Attempts"), "1");
    assert_eq!(header("Dead-Letter-Consumer"), "counter-service");
    assert_eq!(header("ce-type"), "counter.add.v1");
    assert!(!header("Dead-Letter-Detail").is_empty());

    bench.settled().await;
    assert_eq!(bench.deliveries().await, 1, "the message is settled, not redelivered and dropped");

    // Its id is not marked as handled: a valid message with the same id is handled.
    bench.send(id, "K1", Mode::Add).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
}

async fn a_message_from_another_source_becomes_a_dead_letter(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    let id = Uuid::now_v7();
    let mut forged = headers(id, "K1");
    forged.insert("ce-source", "/counter-service");
    bench.send_raw("counter.command.add.K1", forged, r#"{"mode":"add"}"#).await;
    let dead_letter = bench.dead_letter().await;
    assert_eq!(dead_letter.headers.get("Dead-Letter-Reason").unwrap().as_str(), "source-mismatch");

    // Its id is not marked as handled: the real message with this id is still handled.
    bench.send(id, "K1", Mode::Add).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
}

async fn a_subject_that_cannot_be_stored_or_published_unchanged_blocks_nothing(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    // PostgreSQL stores no NUL character in a text, and a line of the NATS protocol has at most 4096 bytes.
    for key in ["K\u{0}", &"K".repeat(3990)] {
        let (subject, headers) = (format!("counter.command.add.{key}"), headers(Uuid::now_v7(), "K1"));
        bench.js.client().publish_with_headers(subject, headers, r#"{"mode":"add"}"#.into()).await.unwrap();
    }
    bench.js.client().flush().await.unwrap();
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    assert_eq!(bench.messages("COMMANDS").await, 3);
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
    assert_eq!(bench.messages("DEAD_LETTERS").await, 2);
    assert!(service.readiness().await.0);
}

#[tokio::test]
async fn a_subject_that_contradicts_the_envelope_is_a_source_mismatch() {
    let bench = Bench::new(Engine::Sqlite).await;
    let strays = TOPOLOGY.replace(r#"["counter.command.>"]"#, r#"["counter.command.>", "stray.command.>"]"#);
    Topology::parse(&strays).unwrap().provision(&bench.js, 1).await.unwrap();
    let _service = bench.start().await;
    let mut other_key = headers(Uuid::now_v7(), "K1");
    other_key.insert("ce-subject", "K2");
    let mut other_context = headers(Uuid::now_v7(), "K1");
    other_context.insert("ce-type", "stray.add.v1");
    let mut no_producer = headers(Uuid::now_v7(), "K1");
    no_producer.insert("ce-type", "stray.add.v1");
    let forged = [
        ("counter.command.add.K1", other_key),
        ("counter.command.add.K1", other_context),
        ("counter.command.subtract.K1", headers(Uuid::now_v7(), "K1")),
        ("stray.command.add.K1", no_producer),
    ];
    for (subject, headers) in forged {
        bench.send_raw(subject, headers, r#"{"mode":"add"}"#).await;
    }
    bench.settled().await;
    assert_eq!((bench.total("K1").await, bench.total("K2").await), (0, 0));
    let dead_letters = bench.stream("DEAD_LETTERS").await;
    assert_eq!(dead_letters.cached_info().state.messages, 4);
    for sequence in 1..=4 {
        let dead_letter = dead_letters.get_raw_message(sequence).await.unwrap();
        assert_eq!(dead_letter.subject.as_str(), "dead-letter.counter-service.source-mismatch.K1");
    }
}

#[test]
fn the_id_of_an_outgoing_message_derives_from_cause_subject_and_version() {
    let cause =
        |id| Cause { id: Uuid::from_u128(id), correlation_id: Uuid::now_v7(), trace_parent: None, auth: None };
    let id = |id, subject: &str, version| {
        Outgoing::new(cause(id), subject.to_owned(), "counter.added.v1", "K1", version, b"{}".to_vec()).id
    };
    let first = id(1, "counter.event.added.K1", Some(1));
    assert_eq!(id(1, "counter.event.added.K1", Some(1)), first);
    for other in [
        id(2, "counter.event.added.K1", Some(1)),
        id(1, "counter.event.added.K2", Some(1)),
        id(1, "counter.event.added.K1", Some(2)),
        id(1, "counter.event.added.K1", None),
    ] {
        assert_ne!(other, first);
    }
}

async fn poison_does_not_block_its_neighbours(engine: Engine) {
    let bench = Bench::new(engine).await;
    let mut wrong_key = headers(Uuid::now_v7(), "K1");
    wrong_key.insert("ce-subject", "K2");
    let mut wrong_type = headers(Uuid::now_v7(), "K1");
    wrong_type.insert("ce-type", "counter.subtract.v1");
    let mut no_uuid = headers(Uuid::now_v7(), "K1");
    no_uuid.insert("ce-id", "42");
    let mut no_time = headers(Uuid::now_v7(), "K1");
    no_time.insert("ce-time", "yesterday");
    for poison in [HeaderMap::new(), wrong_key, wrong_type, no_uuid, no_time] {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
        bench.send_raw("counter.command.add.K1", poison, r#"{"mode":"add"}"#).await;
        bench.send(Uuid::now_v7(), "K1", Mode::Reject).await;
    }
    bench.send(Uuid::now_v7(), "K1", Mode::BreakSql).await;
    let deeper = "counter.command.add.K1.more";
    bench.send_raw(deeper, headers(Uuid::now_v7(), "K1"), r#"{"mode":"add"}"#).await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    let _service = bench.start().await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 6);
    assert_eq!(bench.messages("EVENTS").await, 6);
    assert_eq!(bench.messages("DEAD_LETTERS").await, 5 + 5 + 1 + 1);
}

async fn a_rejected_message_becomes_a_dead_letter_at_once(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::Reject).await;
    let dead_letter = bench.dead_letter().await;
    assert_eq!(dead_letter.headers.get("Dead-Letter-Reason").unwrap().as_str(), "rejected");
    assert_eq!(dead_letter.headers.get("Dead-Letter-Detail").unwrap().as_str(), "the test rejects it");
    assert_eq!(service.handler.attempts.lock().unwrap()[&id].len(), 1);
    bench.settled().await;
    assert_eq!(bench.deliveries().await, 1, "the message is settled, not redelivered and dropped");

    // It is in the inbox: redelivered, it is not handled again and there is no second dead letter.
    bench.send(id, "K1", Mode::Reject).await;
    bench.settled().await;
    assert_eq!(bench.messages("DEAD_LETTERS").await, 1);
    assert_eq!(service.handler.attempts.lock().unwrap()[&id].len(), 1);
}

async fn a_message_that_fails_is_retried_later_and_then_succeeds(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::FailTwice).await;
    eventually("the message is handled", || async { bench.total("K1").await == 1 }).await;
    bench.settled().await;
    let attempts = service.handler.attempts.lock().unwrap()[&id].clone();
    assert_eq!(attempts.len(), 3);
    let (first, second) = (attempts[1] - attempts[0], attempts[2] - attempts[1]);
    assert!(first > Duration::from_millis(200) && second > Duration::from_millis(400), "{first:?} {second:?}");
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
}

async fn a_message_that_always_fails_becomes_a_dead_letter_after_its_attempts(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    let id = Uuid::now_v7();
    bench.send(id, "K1", Mode::Fail).await;
    let dead_letter = bench.dead_letter().await;
    assert_eq!(dead_letter.headers.get("Dead-Letter-Reason").unwrap().as_str(), "max-attempts-exceeded");
    assert_eq!(dead_letter.headers.get("Dead-Letter-Attempts").unwrap().as_str(), "3");
    bench.settled().await;
    assert_eq!(service.handler.attempts.lock().unwrap()[&id].len(), 3);
}

async fn a_panic_of_the_handler_affects_only_its_message(engine: Engine) {
    let bench = Bench::new(engine).await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    bench.send(Uuid::now_v7(), "K1", Mode::Panic).await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    let _service = bench.start().await;
    eventually("the neighbours are handled", || async { bench.total("K1").await == 2 }).await;
    let dead_letter = bench.dead_letter().await;
    assert_eq!(dead_letter.headers.get("Dead-Letter-Detail").unwrap().as_str(), "the handler panicked");
}

async fn a_dead_letter_has_no_header_that_the_server_would_act_upon(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    let mut headers = headers(Uuid::now_v7(), "K1");
    headers.insert("Nats-Expected-Stream", "COMMANDS");
    headers.insert("X-Mine", "kept");
    bench.send_raw("counter.command.add.K1", headers, "broken").await;
    let dead_letter = bench.dead_letter().await;
    assert!(dead_letter.headers.get("Nats-Expected-Stream").is_none());
    assert_eq!(dead_letter.headers.get("X-Mine").unwrap().as_str(), "kept");
}

async fn headers_of_nearly_the_maximum_size_stop_neither_the_event_nor_the_dead_letter(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    let long = "0".repeat(64_900);
    // An invalid trace context is not propagated.
    let mut traced = headers(Uuid::now_v7(), "K1");
    traced.insert("traceparent", long.as_str());
    bench.send_raw("counter.command.add.K1", traced, r#"{"mode":"add"}"#).await;
    // The dead letter adds headers.
    let mut unreadable = headers(Uuid::now_v7(), "K2");
    unreadable.insert("x-unknown", long.as_str());
    bench.send_raw("counter.command.add.K2", unreadable, "{").await;
    let dead_letter = bench.dead_letter().await;
    assert_eq!(dead_letter.subject.as_str(), "dead-letter.counter-service.undecodable.K2");
    assert!(dead_letter.headers.get("x-unknown").is_none(), "a header that does not fit is left out");
    assert_eq!(dead_letter.headers.get("ce-subject").unwrap().as_str(), "K2");
    bench.settled().await;
    assert_eq!((bench.total("K1").await, bench.messages("EVENTS").await), (1, 1));
}

async fn a_timer_is_delivered_when_due_and_not_after_it_was_cancelled(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    bench.send(Uuid::now_v7(), "CANCELLED", Mode::Schedule).await;
    bench.send(Uuid::now_v7(), "CANCELLED", Mode::Cancel).await;
    bench.send(Uuid::now_v7(), "DUE", Mode::Schedule).await;
    let timers = bench.stream("TIMERS").await;
    let due = async || timers.get_last_raw_message_by_subject("counter.timer.ring.DUE").await;
    eventually("the timer is due", || async { due().await.is_ok() }).await;
    let message = due().await.unwrap();
    assert_eq!(message.headers.get("ce-type").unwrap().as_str(), "counter.ring.v1");
    assert!(Uuid::parse_str(message.headers.get("ce-id").unwrap().as_str()).is_ok());
    bench.settled().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let cancelled = timers.get_last_raw_message_by_subject("counter.timer.ring.CANCELLED").await;
    assert!(cancelled.is_err(), "{cancelled:?}");
}
