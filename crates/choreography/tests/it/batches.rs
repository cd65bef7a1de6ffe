//! Atomic batches: if nats-server syncs before it acknowledges, concurrent messages share a batch.

use choreography::publisher::{Command, PublishError, Publisher};
use choreography::{Topology, outbox_pending};
use choreography_test::TestNats;
use futures::future::join_all;
use uuid::Uuid;

use crate::counter::Mode;
use crate::on_both_databases;
use crate::support::{Bench, Engine, Running, TOPOLOGY, connected, eventually};

on_both_databases!(
    events_are_published_in_batches_only_if_the_server_syncs,
    a_batch_with_duplicates_is_published_event_by_event,
    a_stream_without_atomic_batches_gets_events_one_by_one,
);

/// The number of commands.
const COMMANDS: usize = 300;

/// Starts a nats-server that syncs before it acknowledges.
async fn synced(engine: Engine) -> Bench {
    let conf =
        std::env::temp_dir().join(format!("messaging-synced-{}-{}.conf", std::process::id(), Uuid::now_v7()));
    std::fs::write(&conf, "jetstream { store_dir: $NATS_STORE_DIR, sync_interval: always }").unwrap();
    let nats = TestNats::with_config(&conf, []).await.unwrap();
    std::fs::remove_file(conf).unwrap();
    Bench::with(engine, nats).await
}

async fn start(bench: &Bench) -> Running {
    let mut options = bench.options();
    options.durability.nats_monitor_url = vec![bench.nats.monitor_url()];
    let running = bench.launch(&options).await;
    eventually("the service is ready", || async { running.readiness().await.0 }).await;
    running
}

async fn send_commands(bench: &Bench) {
    for n in 0..COMMANDS {
        bench.send(Uuid::now_v7(), &format!("K{n}"), Mode::Add).await;
    }
}

/// Returns the number of messages of a stream that were stored in a batch.
async fn in_batches(bench: &Bench, stream: &str) -> usize {
    let mut count = 0;
    let stream = bench.stream(stream).await;
    for sequence in 1..=stream.cached_info().state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        count += usize::from(message.headers.get("Nats-Batch-Id").is_some());
    }
    count
}

async fn events_are_published_in_batches_only_if_the_server_syncs(engine: Engine) {
    let bench = synced(engine).await;
    send_commands(&bench).await;
    let _service = start(&bench).await;
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, COMMANDS as u64);
    assert!(in_batches(&bench, "EVENTS").await > COMMANDS / 2);

    let bench = Bench::new(engine).await;
    send_commands(&bench).await;
    let _service = start(&bench).await;
    bench.settled().await;
    assert_eq!((bench.messages("EVENTS").await, in_batches(&bench, "EVENTS").await), (COMMANDS as u64, 0));
}

async fn a_batch_with_duplicates_is_published_event_by_event(engine: Engine) {
    let bench = synced(engine).await;
    send_commands(&bench).await;
    let service = start(&bench).await;
    bench.settled().await;
    service.stop().await.0.unwrap();
    // As if it had been killed after the publishes, before it removed the pending batches.
    bench.mark_all_pending().await;
    assert_eq!(outbox_pending::depth(&bench.db).await.unwrap(), COMMANDS as u64);
    for n in 0..50 {
        bench.send(Uuid::now_v7(), &format!("L{n}"), Mode::Add).await;
    }
    let _service = start(&bench).await;
    bench.settled().await;
    assert_eq!(bench.messages("EVENTS").await, COMMANDS as u64 + 50);
}

async fn a_stream_without_atomic_batches_gets_events_one_by_one(engine: Engine) {
    let bench = synced(engine).await;
    let mut config = bench.stream("EVENTS").await.cached_info().config.clone();
    config.allow_atomic_publish = false;
    bench.js.update_stream(config).await.unwrap();
    send_commands(&bench).await;
    let _service = start(&bench).await;
    bench.settled().await;
    assert_eq!((bench.messages("EVENTS").await, in_batches(&bench, "EVENTS").await), (COMMANDS as u64, 0));
    // Provisioning enables them.
    Topology::parse(TOPOLOGY).unwrap().provision(&bench.js, 1).await.unwrap();
    assert!(bench.stream("EVENTS").await.cached_info().config.allow_atomic_publish);
}

#[tokio::test]
async fn a_service_on_sqlite_syncs_its_commits_if_its_streams_sync_each_message() {
    // NORMAL is 1 and FULL is 2.
    for (bench, synchronous) in [(synced(Engine::Sqlite).await, 2), (Bench::new(Engine::Sqlite).await, 1)] {
        let _service = start(&bench).await;
        bench.send(Uuid::now_v7(), "K1", Mode::Synchronous).await;
        bench.settled().await;
        assert_eq!(bench.total("K1").await, synchronous);
    }
}

#[tokio::test]
async fn concurrent_commands_share_a_batch_and_each_gets_its_own_result() {
    let bench = synced(Engine::Sqlite).await;
    let (client, health) = connected(&bench.nats.url()).await;
    eventually("the client is connected", || async { health.readiness().ready }).await;
    let publisher = Publisher::new(choreography::connection::jetstream(&client), "tester");
    let command = |n: usize| Command {
        id: Uuid::from_u128(n as u128 + 1),
        subject: format!("counter.command.add.K{n}"),
        message_type: "counter.add.v1",
        key: format!("K{n}"),
        body: r#"{"mode":"add"}"#.into(),
        trace_parent: None,
        auth: None,
    };
    let published = join_all((0..COMMANDS).map(|n| publisher.publish_in_group(command(n)))).await;
    let stream = bench.stream("COMMANDS").await;
    for (n, published) in published.into_iter().enumerate() {
        let published = published.unwrap();
        assert!(!published.duplicate);
        let stored = stream.get_raw_message(published.sequence).await.unwrap();
        assert_eq!(stored.subject.as_str(), format!("counter.command.add.K{n}"));
    }
    assert!(in_batches(&bench, "COMMANDS").await > COMMANDS / 2);

    // Among others, one command that is stored already, and one that is too large for the stream.
    let mixed = (COMMANDS - 1..COMMANDS + 100).map(|n| {
        let mut command = command(n);
        if n == COMMANDS + 40 {
            command.body = vec![b' '; 100_000].into();
        }
        publisher.publish_in_group(command)
    });
    let mixed = join_all(mixed).await;
    for (index, published) in mixed.into_iter().enumerate() {
        match (index, published) {
            (41, Err(PublishError::TooLarge(_))) => {}
            (index, Ok(published)) => assert_eq!(published.duplicate, index == 0, "{index}"),
            (index, other) => panic!("{index}: {other:?}"),
        }
    }
    assert_eq!(bench.messages("COMMANDS").await, COMMANDS as u64 + 99);
}
