//! The builder of a service: what it refuses, and a handler out of a function on one message.

use async_nats::jetstream::stream;
use choreography::database::Databases;
use choreography::topology::Topology;
use choreography::{
    BuildError, Declaration, DeclarationError, Envelope, Event, HandleError, Handler, Messages, Outgoing, Policies,
    Service, Timer, each,
};
use choreography_test::free_port;
use sea_orm::{ConnectionTrait, Database, DatabaseTransaction};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::counter::{Add, Counter};
use crate::support::{Bench, Engine, TOPOLOGY, eventually, run};

#[derive(Serialize, Deserialize, Event)]
#[message(context = "counter", name = "added", version = 1, key = name, producer = "counter-service")]
struct Added {
    name: String,
}

#[derive(Serialize, Deserialize, Event)]
#[message(context = "elsewhere", name = "added", version = 1, key = name, producer = "counter-service")]
struct AddedElsewhere {
    name: String,
}

#[derive(Serialize, Deserialize, Event)]
#[message(context = "counter", name = "borrowed", version = 1, key = name, producer = "another-service")]
struct Borrowed {
    name: String,
}

#[derive(Serialize, Deserialize, Timer)]
#[message(context = "counter", name = "ring", version = 1, key = name, producer = "counter-service")]
struct Ring {
    name: String,
}

#[derive(Messages)]
enum Consumed {
    Added(Added),
    Ring(Ring),
}

fn topology() -> Topology {
    Topology::parse(TOPOLOGY).unwrap()
}

/// The streams without consumers.
fn streams() -> Topology {
    Topology { consumers: Vec::new(), ..topology() }
}

async fn memory() -> Databases {
    Databases::from(Database::connect("sqlite::memory:").await.unwrap())
}

fn refused<H: Handler>(built: Result<Service<H>, BuildError>) -> String {
    built.err().unwrap().to_string()
}

#[tokio::test]
async fn a_service_without_a_required_part_is_refused_with_the_call_that_sets_it() {
    let counter = || Service::builder("counter-service").handler(Counter::default());
    assert_eq!(
        refused(counter().build()),
        "counter-service has no topology: call `.topology(…)` before `.build()`"
    );
    assert_eq!(
        refused(counter().topology(topology()).build()),
        "counter-service has no database: call `.database(…)` before `.build()`"
    );
    let mut policies = Policies::default();
    policies.max_batch = 0;
    let built = counter().topology(topology()).database(memory().await).policies(policies).build();
    assert_eq!(refused(built), "the policy max_batch is 0; allowed: 1 to 1000");
}

#[tokio::test]
async fn a_message_that_cannot_be_published_is_refused() {
    let counter = || Service::builder("counter-service").handler(Counter::default()).topology(topology());
    let db = memory().await;
    counter().publishes::<Added>().publishes::<Ring>().database(db.clone()).build().map(drop).unwrap();
    assert_eq!(
        refused(counter().publishes::<AddedElsewhere>().database(db.clone()).build()),
        "counter-service: no stream of the topology stores elsewhere.event.added.*; add the subject to a stream"
    );
    let borrowed = refused(counter().publishes::<Borrowed>().database(db.clone()).build());
    assert!(borrowed.contains("counter.borrowed.v1 is declared with the producer another-service"), "{borrowed}");
    let mut without_schedules = topology();
    without_schedules.streams.iter_mut().for_each(|stream| stream.schedules = false);
    let unscheduled = counter().publishes::<Ring>().topology(without_schedules).database(db).build();
    assert!(refused(unscheduled).contains("TIMERS stores counter.timer.ring.* and accepts no schedules"));
}

#[tokio::test]
async fn a_declaration_that_is_not_the_handlers_or_the_topologys_is_refused() {
    let other = Declaration::new("counter-service").consumes::<Added>();
    let built = Service::builder(other).handler(Counter::default()).topology(streams()).database(memory().await);
    let text = refused(built.build());
    assert!(text.contains("handler consumes counter.add.v1, its declaration counter.added.v1"), "{text}");

    let listed = Declaration::new("counter-service").consumes::<Consumed>();
    let error = listed.check(&topology()).unwrap_err();
    assert!(matches!(error, DeclarationError::Consumers { .. }), "{error}");
    assert!(error.to_string().contains("EVENTS (counter.event.added.*); TIMERS (counter.timer.>)"), "{error}");
    let consumers = streams().with(&listed).unwrap().consumers;
    assert_eq!(consumers, listed.consumers(&topology()).unwrap());
    let user = listed.publishes::<Added>().publishes::<Ring>().user(&streams()).unwrap();
    assert!(user.publish.starts_with(&["counter.event.>".to_owned(), "counter.schedule.>".to_owned()]));
    assert!(user.publish.contains(&"$JS.ACK.*.*.TIMERS.counter-service.>".to_owned()));
}

#[test]
fn a_user_prints_as_it_stands_in_the_configuration_of_nats_server() {
    let user = Declaration::new("counter-service").publishes::<Added>().user(&streams()).unwrap();
    let printed = user.to_string();
    let begin = "{\n  user: counter-service, password: $COUNTER_SERVICE_PASSWORD\n  permissions: {\n    publish: { allow: [\n";
    assert!(printed.starts_with(begin), "{printed}");
    assert!(printed.contains("\"$JS.API.STREAM.INFO.EVENTS\",") && printed.ends_with("  }\n}"), "{printed}");
}

#[tokio::test]
async fn a_service_awaits_a_stream_that_stores_what_it_publishes_and_names_the_missing_subject() {
    let bench = Bench::new(Engine::Sqlite).await;
    let events = bench.stream("EVENTS").await.cached_info().config.clone();
    let other = stream::Config { subjects: vec!["other.event.>".to_owned()], ..events.clone() };
    bench.js.update_stream(other).await.unwrap();
    let service = bench.builder(bench.counter()).publishes::<Added>();
    let service = service.database(Databases::open::<crate::counter::Migrator>(&bench.url).await.unwrap());
    let service = run(service.build().unwrap(), &bench.options());
    eventually("readiness names the subject", || async {
        let (ready, text) = service.readiness().await;
        !ready && text.contains("stream EVENTS does not store counter.event.added.*") && text.contains("provision")
    })
    .await;
    bench.js.update_stream(events).await.unwrap();
    eventually("the service is ready", || async { service.readiness().await.0 }).await;
    service.stop().await.0.unwrap();
}

async fn add_one(tx: &DatabaseTransaction, message: &Envelope<Add>) -> Result<Vec<Outgoing>, HandleError> {
    let add = format!(
        "INSERT INTO counter VALUES ('{}', 1) ON CONFLICT (name) DO UPDATE SET total = counter.total + 1",
        message.key
    );
    tx.execute_unprepared(&add).await?;
    Ok(vec![message.emit(&Added { name: message.key.clone() })?])
}

#[tokio::test]
async fn a_function_on_one_message_handles_every_message_of_a_batch_once() {
    let bench = Bench::new(Engine::Sqlite).await;
    let address = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let mut policies = Policies::default();
    policies.max_batch = 2;
    for n in 0..5 {
        let id = Uuid::now_v7();
        bench.send(id, &format!("K{}", n % 2), crate::counter::Mode::Add).await;
        bench.send(id, &format!("K{}", n % 2), crate::counter::Mode::Add).await;
    }
    let service = Service::builder("counter-service")
        .topology(topology())
        .handler(each(add_one))
        .publishes::<Added>()
        .policies(policies)
        .http(address)
        .database(Databases::open::<crate::counter::Migrator>(&bench.url).await.unwrap())
        .build()
        .unwrap();
    let service = run(service, &bench.options());
    eventually("all are published", || async { bench.messages("EVENTS").await == 5 }).await;
    assert_eq!((bench.total("K0").await, bench.total("K1").await), (3, 2));
    service.stop().await.0.unwrap();
}
