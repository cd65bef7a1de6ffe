//! What a service tells of one key.

use messaging::trace::{Request, Trace, subject};
use uuid::Uuid;

use crate::on_both_databases;
use crate::support::{Bench, Engine, eventually};
use crate::tally::Mode;

on_both_databases!(
    a_trace_tells_what_was_handled_failed_came_again_and_was_given_up,
    a_trace_tells_what_no_stream_has_yet,
);

async fn trace(bench: &Bench, key: &str, message_ids: &[Uuid]) -> Trace {
    let body = serde_json::to_vec(&Request { message_ids: message_ids.to_vec() }).unwrap();
    let answer = bench.js.client().request(subject("tally-service", key), body.into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap_or_else(|_| panic!("{answer:?}"))
}

async fn a_trace_tells_what_was_handled_failed_came_again_and_was_given_up(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    let ids: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
    let [plain, late, poison, unknown] = ids[..] else { unreachable!() };
    for _ in 0..3 {
        bench.send(plain, "K1", Mode::Add).await;
    }
    bench.send(late, "K1", Mode::FailTwice).await;
    bench.send(poison, "K1", Mode::Fail).await;
    bench.send(Uuid::now_v7(), "K2", Mode::Reject).await;
    eventually("two are given up", || async { bench.messages("DEAD_LETTERS").await == 2 }).await;
    bench.settled().await;
    let traced = trace(&bench, "K1", &ids).await;
    assert_eq!(traced.service, "tally-service");
    let handled: Vec<Uuid> = traced.handled.iter().map(|handled| handled.message_id).collect();
    assert!(handled.contains(&plain) && handled.contains(&late) && !handled.contains(&unknown));
    assert_eq!(traced.standing.unwrap().state, "at 2");
    assert_eq!(traced.mishaps.len(), 3, "{:?}", traced.mishaps);
    let of = |id: Uuid| traced.mishaps.iter().find(|mishap| mishap.message_id == id).unwrap();
    assert_eq!((of(plain).duplicates, of(plain).failures, of(plain).sequence), (2, 0, 3));
    assert!(of(plain).duplicate_at.is_some() && of(plain).given_up_at.is_none());
    assert!(of(late).failures == 2 && of(late).given_up_at.is_none());
    assert_eq!(of(late).detail.as_deref(), Some("not yet"));
    assert_eq!((of(poison).failures, of(poison).duplicates), (3, 0));
    assert_eq!(of(poison).reason.as_deref(), Some("attempts-exhausted"));
    assert!(of(poison).given_up_at.is_some() && of(poison).redriven_at.is_none());
    assert!(traced.unpublished.is_empty());
    assert_eq!(trace(&bench, "nothing", &[]).await.standing, None);
}

async fn a_trace_tells_what_no_stream_has_yet(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    bench.js.delete_stream("EVENTS").await.unwrap();
    let id = Uuid::now_v7();
    bench.send(id, "K_1", Mode::Add).await;
    bench.send(Uuid::now_v7(), "KX1", Mode::Add).await;
    eventually("both are handled", || async { bench.total("K_1").await + bench.total("KX1").await == 2 }).await;
    let unpublished = trace(&bench, "K_1", &[id]).await.unpublished;
    assert_eq!(unpublished.len(), 1, "{unpublished:?}");
    assert_eq!(unpublished[0].subject, "tally.event.added.K_1");
    assert_eq!(unpublished[0].causation_id, Some(id.to_string()));
    assert!(unpublished[0].since.starts_with("20"));
}
