//! The trace of one key in a service.

use choreography::trace::{Request, Trace, subject};
use uuid::Uuid;

use crate::counter::Mode;
use crate::on_both_databases;
use crate::support::{Bench, Engine, eventually};

on_both_databases!(
    a_trace_has_handled_failed_repeated_and_dead_lettered_messages,
    a_trace_has_pending_outbox_messages,
);

async fn trace(bench: &Bench, key: &str, message_ids: &[Uuid]) -> Trace {
    let body = serde_json::to_vec(&Request { message_ids: message_ids.to_vec() }).unwrap();
    let reply = bench.js.client().request(subject("counter-service", key), body.into()).await.unwrap();
    serde_json::from_slice(&reply.payload).unwrap_or_else(|_| panic!("{reply:?}"))
}

async fn a_trace_has_handled_failed_repeated_and_dead_lettered_messages(engine: Engine) {
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
    eventually("two are dead-lettered", || async { bench.messages("DEAD_LETTERS").await == 2 }).await;
    bench.settled().await;
    let traced = trace(&bench, "K1", &ids).await;
    assert_eq!(traced.service, "counter-service");
    let handled: Vec<Uuid> = traced.handled.iter().map(|handled| handled.message_id).collect();
    assert!(handled.contains(&plain) && handled.contains(&late) && !handled.contains(&unknown));
    assert_eq!(traced.status.unwrap().state, "at 2");
    assert_eq!(traced.delivery_issues.len(), 3, "{:?}", traced.delivery_issues);
    let of =
        |id: Uuid| traced.delivery_issues.iter().find(|delivery_issue| delivery_issue.message_id == id).unwrap();
    assert_eq!((of(plain).duplicates, of(plain).failures, of(plain).sequence), (2, 0, 3));
    assert!(of(plain).duplicate_at.is_some() && of(plain).dead_lettered_at.is_none());
    assert!(of(late).failures == 2 && of(late).dead_lettered_at.is_none());
    assert_eq!(of(late).detail.as_deref(), Some("not yet"));
    assert_eq!((of(poison).failures, of(poison).duplicates), (3, 0));
    assert_eq!(of(poison).reason.as_deref(), Some("max-attempts-exceeded"));
    assert!(of(poison).dead_lettered_at.is_some() && of(poison).redriven_at.is_none());
    assert!(traced.outbox_pending.is_empty());
    assert_eq!(trace(&bench, "nothing", &[]).await.status, None);
}

async fn a_trace_has_pending_outbox_messages(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    bench.js.delete_stream("EVENTS").await.unwrap();
    let id = Uuid::now_v7();
    bench.send(id, "K_1", Mode::Add).await;
    bench.send(Uuid::now_v7(), "KX1", Mode::Add).await;
    eventually("both are handled", || async { bench.total("K_1").await + bench.total("KX1").await == 2 }).await;
    let outbox_pending = trace(&bench, "K_1", &[id]).await.outbox_pending;
    assert_eq!(outbox_pending.len(), 1, "{outbox_pending:?}");
    assert_eq!(outbox_pending[0].subject, "counter.event.added.K_1");
    assert_eq!(outbox_pending[0].causation_id, Some(id.to_string()));
    assert!(outbox_pending[0].since.starts_with("20"));
}
