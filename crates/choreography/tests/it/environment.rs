//! Provisioning, readiness, queries, and errors at the start of a service.

use std::time::Duration;

use async_nats::jetstream::stream;
use choreography::connection::NatsOptions;
use choreography::credentials::NatsCredentials;
use choreography::publisher::{Command, PublishError, Publisher};
use choreography::query::{AskError, ask};
use choreography::stats::Stats;
use choreography::{Health, Topology};
use choreography_test::TestNats;
use uuid::Uuid;

use crate::counter::Mode;
use crate::support::{Bench, Engine, TOPOLOGY, connected, eventually};

#[tokio::test]
async fn provisioning_is_idempotent_and_applies_changes_in_place() {
    let bench = Bench::new(Engine::Sqlite).await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    Topology::parse(TOPOLOGY).unwrap().provision(&bench.js, 1).await.unwrap();
    let changed = TOPOLOGY
        .replace(r#"Subjects": ["counter.command.>"#, r#"Subjects": ["counter.command.add.*"#)
        .replace("3600", "1800");
    Topology::parse(&changed).unwrap().provision(&bench.js, 1).await.unwrap();
    let stream = bench.stream("COMMANDS").await;
    assert_eq!(stream.cached_info().config.max_age, Duration::from_secs(1800));
    assert_eq!(stream.cached_info().state.messages, 1, "no message is lost");
    let consumer = stream.consumer_info("counter-service").await.unwrap();
    assert_eq!(consumer.config.filter_subjects, ["counter.command.add.*"]);
}

#[tokio::test]
async fn a_change_that_the_server_cannot_make_is_refused_with_its_name() {
    let bench = Bench::new(Engine::Sqlite).await;
    bench.js.delete_stream("EVENTS").await.unwrap();
    let in_memory = stream::Config {
        name: "EVENTS".to_owned(),
        subjects: vec!["counter.event.>".to_owned()],
        storage: stream::StorageType::Memory,
        ..Default::default()
    };
    bench.js.create_stream(in_memory).await.unwrap();
    let error = Topology::parse(TOPOLOGY).unwrap().provision(&bench.js, 1).await.unwrap_err().to_string();
    assert!(error.contains("stream EVENTS") && error.contains("storage"), "{error}");
}

#[tokio::test]
async fn provisioning_adds_subjects_to_a_stream_and_refuses_to_take_any() {
    let bench = Bench::new(Engine::Sqlite).await;
    let provisioned = async |subjects: &str| {
        let topology = TOPOLOGY.replace(r#"["counter.event.>"]"#, subjects);
        Topology::parse(&topology).unwrap().provision(&bench.js, 1).await
    };
    provisioned(r#"["counter.event.>", "room.event.>"]"#).await.unwrap();
    let error = provisioned(r#"["room.event.>"]"#).await.unwrap_err().to_string();
    assert!(
        error.contains("stream EVENTS stores counter.event.>, which this topology does not declare"),
        "{error}"
    );
    let subjects = bench.stream("EVENTS").await.cached_info().config.subjects.clone();
    assert_eq!(subjects, ["counter.event.>", "room.event.>"]);
}

#[tokio::test]
async fn a_topology_with_an_unknown_field_is_refused() {
    let misspelt = TOPOLOGY.replacen("maxAgeSeconds", "maxAge", 1);
    assert!(format!("{:#}", Topology::parse(&misspelt).unwrap_err()).contains("maxAge"));
}

#[tokio::test]
async fn a_service_with_a_retention_below_the_dedup_horizon_refuses_to_start_and_names_the_option() {
    let bench = Bench::new(Engine::Sqlite).await;
    let mut options = bench.options();
    options.retention_seconds = 3599;
    let error = bench.launch(&options).await.ended().await.unwrap_err().to_string();
    assert!(
        error.contains("COMMANDS") && error.contains("--retention-seconds") && error.contains("3600"),
        "{error}"
    );
}

#[tokio::test]
async fn a_service_of_a_stream_that_keeps_messages_forever_refuses_to_start() {
    let bench = Bench::new(Engine::Sqlite).await;
    let forever = TOPOLOGY.replacen("3600", "0", 1);
    Topology::parse(&forever).unwrap().provision(&bench.js, 1).await.unwrap();
    let error = bench.launch(&bench.options()).await.ended().await.unwrap_err().to_string();
    assert!(error.contains("COMMANDS") && error.contains("forever"), "{error}");
}

#[tokio::test]
async fn a_service_started_before_its_streams_awaits_them_and_reports_it() {
    let bench = Bench::new(Engine::Sqlite).await;
    bench.js.delete_stream("COMMANDS").await.unwrap();
    let service = bench.launch(&bench.options()).await;
    eventually("readiness reports the stream", || async {
        let (ready, text) = service.readiness().await;
        !ready && text.contains("stream COMMANDS cannot be read")
    })
    .await;
    Topology::parse(TOPOLOGY).unwrap().provision(&bench.js, 1).await.unwrap();
    eventually("the service is ready", || async { service.readiness().await.0 }).await;
    service.stop().await.0.unwrap();
}

#[tokio::test]
async fn a_service_whose_consumer_is_deleted_is_not_ready_until_it_is_provisioned_again() {
    let bench = Bench::new(Engine::Sqlite).await;
    let service = bench.start().await;
    bench.stream("COMMANDS").await.delete_consumer("counter-service").await.unwrap();
    eventually("readiness reports the consumer", || async {
        let (ready, text) = service.readiness().await;
        !ready && text.contains("consumer/COMMANDS")
    })
    .await;
    Topology::parse(TOPOLOGY).unwrap().provision(&bench.js, 1).await.unwrap();
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    bench.settled().await;
    assert_eq!(bench.total("K1").await, 1);
    eventually("the service is ready again", || async { service.readiness().await.0 }).await;
}

#[tokio::test]
async fn a_query_gets_a_json_reply_or_an_error() {
    let bench = Bench::new(Engine::Sqlite).await;
    let _service = bench.start().await;
    bench.send(Uuid::now_v7(), "K1", Mode::Add).await;
    bench.settled().await;
    let client = bench.js.client();
    let asked = async |subject: &str| ask(&client, subject.to_owned(), "".into(), Duration::from_secs(5)).await;
    assert_eq!(asked("counter.query.total.K1").await.unwrap().as_ref(), b"1");
    let absent = asked("counter.query.total.K2").await;
    assert!(matches!(&absent, Err(AskError::NotFound(why)) if why == "nothing was added to K2"), "{absent:?}");
    let nobody = asked("counter.query.product.K1").await;
    assert!(matches!(nobody, Err(AskError::NoResponders)), "{nobody:?}");
}

#[tokio::test]
async fn repeated_subjects_are_counted_beyond_the_listed_ones() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let bench = Bench::new(engine).await;
        let _service = bench.start().await;
        for n in 0..50 {
            bench.send(Uuid::now_v7(), &format!("K{}", n % 25), Mode::Add).await;
        }
        bench.settled().await;
        let request = r#"{"oncePerKey": ["counter.event.added"]}"#;
        let reply = bench.js.client().request("admin.counter-service.stats", request.into()).await.unwrap();
        let stats: Stats = serde_json::from_slice(&reply.payload).unwrap();
        assert_eq!((stats.repeated.len(), stats.repeated_total), (20, 25), "{engine:?}");
        assert!(stats.repeated.iter().all(|repeated| repeated.count == 2), "{stats:?}");
    }
}

#[tokio::test]
async fn a_command_published_again_is_dropped_by_the_stream_and_one_without_a_broker_fails_in_time() {
    let mut bench = Bench::new(Engine::Sqlite).await;
    let (client, health) = connected(&bench.nats.url()).await;
    eventually("the client is connected", || async { health.readiness().ready }).await;
    let publisher = Publisher::new(choreography::connection::jetstream(&client), "tester");
    let command = Command {
        id: Uuid::now_v7(),
        subject: "counter.command.add.K1".to_owned(),
        message_type: "counter.add.v1",
        key: "K1".to_owned(),
        body: r#"{"mode":"add"}"#.into(),
        trace_parent: None,
        auth: None,
    };
    let first = publisher.publish(command.clone()).await.unwrap();
    let second = publisher.publish(command.clone()).await.unwrap();
    assert!(!first.duplicate && second.duplicate);
    assert_eq!(first.sequence, second.sequence);
    let _service = bench.start().await;
    eventually("the message is handled", || async { bench.total("K1").await == 1 }).await;

    let large = Command { id: Uuid::now_v7(), body: vec![b' '; 100_000].into(), ..command.clone() };
    assert!(matches!(publisher.publish(large).await, Err(PublishError::TooLarge(_))));

    bench.nats.kill().unwrap();
    let refused = publisher.publish(Command { id: Uuid::now_v7(), ..command }).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    eventually("the disconnection is known", || async { !health.readiness().ready }).await;
}

#[tokio::test]
async fn a_client_of_a_hanging_server_reconnects_to_another_one() {
    let (mut one, mut other) = (TestNats::start().await.unwrap(), TestNats::start().await.unwrap());
    let (client, health) = connected(&format!("{},{}", one.url(), other.url())).await;
    eventually("the client is connected", || async { health.readiness().ready }).await;
    let first = client.server_info().port;
    let hanging = if one.port() == first { &mut one } else { &mut other };
    hanging.pause().unwrap();
    eventually("the client is connected to the other server", || async { client.server_info().port != first })
        .await;
    hanging.resume().unwrap();
}

#[tokio::test]
async fn a_refused_late_reply_does_not_make_the_service_unready() {
    let config = std::env::temp_dir().join(format!("messaging-test-{}-late-reply.conf", std::process::id()));
    let user = r#"{user: tester, password: secret, permissions: {publish: "allowed.>", subscribe: ">"}}"#;
    let conf = format!("jetstream {{ store_dir: $NATS_STORE_DIR }}\nauthorization {{ users: [{user}] }}");
    std::fs::write(&config, conf).unwrap();
    let nats = TestNats::with_config(&config, []).await.unwrap();
    std::fs::remove_file(&config).unwrap();
    let health = Health::default();
    let secret = Some("secret".to_owned());
    let options = NatsOptions {
        nats_url: nats.url(),
        nats_user: Some("tester".to_owned()),
        nats_password: secret,
        nats_credentials: NatsCredentials::default(),
    };
    let client = choreography::connection::connect(&options, "tester", &health).await.unwrap();
    eventually("the client is connected", || async { health.readiness().ready }).await;
    client.publish("_INBOX_gateway.1.2", "late".into()).await.unwrap();
    client.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(health.readiness().ready, "{:?}", health.readiness());
    client.publish("forbidden", "".into()).await.unwrap();
    eventually("any other refused publish is reported", || async { !health.readiness().ready }).await;
}
