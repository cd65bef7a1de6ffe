//! The relay of the outbox: refused messages, crashed instances, and a shared database.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use choreography::redrive::{self, Outcome, Report};
use choreography::{outbox, outbox_pending};
use futures::{FutureExt, StreamExt};
use sea_orm::{ActiveValue::Set, EntityTrait};
use uuid::Uuid;

use crate::counter::Mode;
use crate::on_both_databases;
use crate::support::{Bench, Engine, eventually};

on_both_databases!(
    refused_messages_are_retried_with_back_off_and_delay_no_shutdown,
    refused_messages_do_not_block_later_ones,
    after_a_crash_under_load_at_most_the_pending_messages_are_published_again,
    an_unpublishable_message_becomes_a_dead_letter_and_can_be_redriven,
    a_message_whose_event_fits_no_stream_is_rejected_and_changes_nothing,
    a_pending_batch_whose_messages_were_deleted_is_removed,
);

/// Counts the messages on a subject that satisfy a condition.
async fn counted(bench: &Bench, subject: &'static str, counts: fn(&async_nats::Message) -> bool) -> Arc<AtomicU64> {
    let client = async_nats::connect(bench.nats.url()).await.unwrap();
    let mut messages = client.subscribe(subject).await.unwrap();
    client.flush().await.unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            counter.fetch_add(u64::from(counts(&message)), Ordering::Relaxed);
        }
    });
    count
}

/// Counts the acknowledgements of duplicates.
async fn duplicate_acknowledgements(bench: &Bench) -> Arc<AtomicU64> {
    counted(bench, "_INBOX_counter-service.>", |message| is_duplicate(&message.payload)).await
}

fn is_duplicate(payload: &[u8]) -> bool {
    String::from_utf8_lossy(payload).replace(' ', "").contains(r#""duplicate":true"#)
}

async fn change_events(bench: &Bench, change: impl FnOnce(&mut Config)) {
    let mut config = bench.stream("EVENTS").await.cached_info().config.clone();
    change(&mut config);
    bench.js.update_stream(config).await.unwrap();
}

/// Limits EVENTS to one message, so that it refuses all others.
async fn fill_events(bench: &Bench) {
    change_events(bench, |config| (config.max_messages, config.discard) = (1, DiscardPolicy::New)).await;
}

async fn lift_limit(bench: &Bench) {
    change_events(bench, |config| config.max_messages = -1).await;
}

async fn refused_messages_are_retried_with_back_off_and_delay_no_shutdown(engine: Engine) {
    let bench = Bench::new(engine).await;
    fill_events(&bench).await;
    let service = bench.start().await;
    let published = counted(&bench, "counter.event.>", |_| true).await;
    for _ in 0..100 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    eventually("all are handled", || async { bench.total("K1").await == 100 }).await;
    eventually("readiness names the subject and the reason", || async {
        let (ready, text) = service.readiness().await;
        !ready && text.contains("counter.event.added") && text.contains("maximum messages exceeded")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    // Each message once, and a few more attempts at the end of each back-off.
    let published = published.load(Ordering::Relaxed);
    assert!(published <= 200, "published {published} times");
    let (ended, took) = service.stop().await;
    ended.unwrap();
    assert!(took < Duration::from_secs(3), "{took:?}");

    lift_limit(&bench).await;
    let service = bench.start().await;
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, 100);
    service.stop().await.0.unwrap();
}

/// Writes a pending message of an earlier run.
async fn insert_pending(bench: &Bench, row_id: Uuid, subject: &str) {
    let row = outbox::entity::ActiveModel {
        row_id: Set(row_id),
        message_id: Set(row_id),
        subject: Set(subject.to_owned()),
        headers: Set("[]".to_owned()),
        body: Set(b"{}".to_vec()),
    };
    outbox::entity::Entity::insert(row).exec_without_returning(&bench.db).await.unwrap();
    let range = outbox_pending::entity::ActiveModel {
        first_row_id: Set(row_id),
        last_row_id: Set(row_id),
        ..Default::default()
    };
    outbox_pending::entity::Entity::insert(range).exec_without_returning(&bench.db).await.unwrap();
}

async fn refused_messages_do_not_block_later_ones(engine: Engine) {
    let bench = Bench::new(engine).await;
    for _ in 0..300 {
        insert_pending(&bench, Uuid::now_v7(), "elsewhere.event.happened.K1").await;
    }
    for _ in 0..7 {
        insert_pending(&bench, Uuid::now_v7(), "counter.event.added.K1").await;
    }
    let _service = bench.launch(&bench.options()).await;
    eventually("the later ones are published", || async { bench.messages("EVENTS").await == 7 }).await;
    eventually("the refused ones are pending", || async { outbox_pending::depth(&bench.db).await.unwrap() == 300 })
        .await;
}

async fn after_a_crash_under_load_at_most_the_pending_messages_are_published_again(engine: Engine) {
    const COMMANDS: u64 = 3000;
    let bench = Bench::new(engine).await;
    let duplicates = duplicate_acknowledgements(&bench).await;
    for n in 0..COMMANDS {
        bench.send(Uuid::now_v7(), &format!("K{}", n % 50), Mode::Add).await;
    }
    let service = bench.start().await;
    eventually("the service is under load", || async { bench.messages("EVENTS").await > 300 }).await;
    service.crash().await;
    let pending = outbox_pending::depth(&bench.db).await.unwrap();
    let _service = bench.start().await;
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, COMMANDS);
    let again = duplicates.load(Ordering::Relaxed);
    assert!(again <= pending, "{again} messages were published again, {pending} were pending");
}

async fn an_unpublishable_message_becomes_a_dead_letter_and_can_be_redriven(engine: Engine) {
    let bench = Bench::new(engine).await;
    let service = bench.start().await;
    change_events(&bench, |config| config.max_message_size = 2000).await;
    bench.send(Uuid::now_v7(), "K1", Mode::Medium).await;
    bench.send(Uuid::now_v7(), "K2", Mode::Add).await;
    let dead_letter = bench.dead_letter().await;
    assert_eq!(dead_letter.subject.as_str(), "dead-letter.counter-service.unpublishable.K1");
    assert_eq!(dead_letter.headers.get("Dead-Letter-Subject").unwrap().as_str(), "counter.event.added.K1");
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, 1);
    eventually("readiness reports it", || async {
        let (ready, text) = service.readiness().await;
        ready && text.contains("1 unpublishable messages")
    })
    .await;

    change_events(&bench, |config| config.max_message_size = 65536).await;
    let request = redrive::Request { sequences: vec![dead_letter.sequence], force: false };
    let request = serde_json::to_vec(&request).unwrap();
    let client = bench.js.client();
    let reply = client.request(redrive::subject("counter-service"), request.into()).await.unwrap();
    let reports: Vec<Report> = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(reports[0].outcome, Outcome::Handled);
    eventually("the event is published", || async { bench.messages("EVENTS").await == 2 }).await;
    bench.settled().await;
}

async fn a_message_whose_event_fits_no_stream_is_rejected_and_changes_nothing(engine: Engine) {
    let bench = Bench::new(engine).await;
    let _service = bench.start().await;
    bench.send(Uuid::now_v7(), "K1", Mode::Large).await;
    bench.send(Uuid::now_v7(), "K2", Mode::Add).await;
    let dead_letter = bench.dead_letter().await;
    assert_eq!(dead_letter.subject.as_str(), "dead-letter.counter-service.rejected.K1");
    bench.settled().await;
    assert_eq!((bench.total("K1").await, bench.total("K2").await), (0, 1));
    assert_eq!(bench.messages("EVENTS").await, 1);
}

async fn a_pending_batch_whose_messages_were_deleted_is_removed(engine: Engine) {
    let bench = Bench::new(engine).await;
    let (deleted, kept) = (Uuid::now_v7(), Uuid::now_v7());
    insert_pending(&bench, deleted, "counter.event.added.K1").await;
    insert_pending(&bench, kept, "counter.event.added.K1").await;
    outbox::entity::Entity::delete_by_id(deleted).exec(&bench.db).await.unwrap();
    let _service = bench.start().await;
    eventually("no batch is pending", || async {
        outbox_pending::entity::Entity::find().one(&bench.db).await.unwrap().is_none()
    })
    .await;
    assert_eq!(bench.messages("EVENTS").await, 1);
}

#[tokio::test]
async fn an_instance_that_starts_publishes_no_messages_of_a_running_one() {
    const COMMANDS: u64 = 20;
    let bench = Bench::new(Engine::Postgres).await;
    let mut publishes = bench.js.client().subscribe("counter.event.>").await.unwrap();
    let one = bench.start().await;
    fill_events(&bench).await;
    for n in 0..COMMANDS {
        bench.send(Uuid::now_v7(), &format!("K{n}"), Mode::Add).await;
    }
    eventually("the first instance has pending messages", || async { !one.readiness().await.0 }).await;
    // It is ready after the recovery scan of everything that was written before its start.
    let _other = bench.start().await;
    lift_limit(&bench).await;
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, COMMANDS);
    // Each instance receives acknowledgements in its own inbox.
    let mut inboxes = HashSet::new();
    while let Some(Some(message)) = publishes.next().now_or_never() {
        let reply = message.reply.unwrap();
        inboxes.insert(reply.rsplit_once('.').unwrap().0.to_owned());
    }
    assert_eq!(inboxes.len(), 1, "{inboxes:?}");
}

#[tokio::test]
async fn pending_batches_belong_to_their_instance_until_it_has_crashed() {
    let bench = Bench::new(Engine::Postgres).await;
    fill_events(&bench).await;
    let one = bench.start().await;
    for _ in 0..20 {
        bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    }
    let owners = async || {
        let batches = outbox_pending::entity::Entity::find().all(&bench.db).await.unwrap();
        batches.into_iter().map(|range| range.owner.unwrap()).collect::<std::collections::BTreeSet<_>>()
    };
    eventually("the messages are refused", || async { !one.readiness().await.0 && owners().await.len() == 1 })
        .await;
    let first = owners().await;
    let other = bench.start().await;
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(owners().await, first, "its owner runs");
    assert!(other.readiness().await.0);
    one.crash().await;
    eventually("the other instance takes them over", || async { owners().await != first }).await;
    lift_limit(&bench).await;
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, 20);
}
