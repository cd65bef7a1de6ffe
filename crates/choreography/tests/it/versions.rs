//! Versions of messages: old ones are read, newer ones wait for an upgraded instance, and a rolling upgrade loses nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use choreography::database::Databases;
use choreography::redrive::Outcome;
use choreography::{
    Command, Decider, Envelope, Event, EventSourced, Handler, Message, Messages, Policies, Publish, ServiceOptions,
    event_store,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::counter::Migrator;
use crate::on_both_databases;
use crate::redrive::redrive;
use crate::support::{Bench, Engine, Running, eventually, headers, run};

on_both_databases!(
    a_message_of_a_newer_version_waits_for_an_upgraded_instance,
    a_history_with_a_newer_version_waits_for_an_upgraded_instance,
    a_newer_version_becomes_a_dead_letter_after_the_time_limit_and_can_be_redriven,
    a_rolling_upgrade_under_load_loses_nothing_and_handles_nothing_twice,
);

mod v1 {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Command)]
    #[message(context = "counter", name = "add", version = 1, key = counter_id, producer = "tester")]
    pub(super) struct Add {
        pub(super) counter_id: String,
        pub(super) units: i64,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
    #[message(context = "counter", name = "added", version = 1, key = counter_id, producer = "counter-service")]
    pub(super) struct Added {
        pub(super) counter_id: String,
        pub(super) units: i64,
    }
}

mod v2 {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Command)]
    #[message(context = "counter", name = "add", version = 2, key = counter_id, producer = "tester", upcast = v1::Add)]
    pub(super) struct Add {
        pub(super) counter_id: String,
        pub(super) quantity: Quantity,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
    #[message(context = "counter", name = "added", version = 2, key = counter_id, producer = "counter-service", upcast = v1::Added)]
    pub(super) struct Added {
        pub(super) counter_id: String,
        pub(super) quantity: Quantity,
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Quantity {
    number: i64,
    unit: String,
}

fn pieces(number: i64) -> Quantity {
    Quantity { number, unit: "piece".to_owned() }
}

impl From<v1::Add> for v2::Add {
    fn from(old: v1::Add) -> Self {
        Self { counter_id: old.counter_id, quantity: pieces(old.units) }
    }
}

impl From<v1::Added> for v2::Added {
    fn from(old: v1::Added) -> Self {
        Self { counter_id: old.counter_id, quantity: pieces(old.units) }
    }
}

/// A third version, with another producer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[message(context = "counter", name = "added", version = 4, key = id, producer = "successor", upcast = v2::Added)]
struct Added {
    id: String,
    number: i64,
}

impl From<v2::Added> for Added {
    fn from(old: v2::Added) -> Self {
        Self { id: old.counter_id, number: old.quantity.number }
    }
}

#[derive(Debug, PartialEq, Messages)]
enum Everything {
    Add(v2::Add),
    Added(Added),
}

#[test]
fn every_older_version_is_read_as_the_newest_one() {
    let types: Vec<&str> = Added::INFO.versions().map(|info| info.message_type).collect();
    assert_eq!(types, ["counter.added.v4", "counter.added.v2", "counter.added.v1"]);
    let read = |version: u32, body: &str| Everything::decode(&format!("counter.added.v{version}"), body.as_bytes());
    let expected = Everything::from(Added { id: "K1".to_owned(), number: 3 });
    assert_eq!(read(1, r#"{"counter_id":"K1","units":3}"#).unwrap(), expected);
    assert_eq!(read(2, r#"{"counter_id":"K1","quantity":{"number":3,"unit":"box"}}"#).unwrap(), expected);
    assert_eq!(read(4, r#"{"id":"K1","number":3}"#).unwrap(), expected);
    assert!(read(3, "{}").unwrap_err().to_string().contains("unknown message type"));
    let wrong = read(1, "{}").unwrap_err().to_string();
    assert!(wrong.starts_with("counter.added.v1 has a body that cannot be read"), "{wrong}");
}

#[test]
fn each_version_has_its_own_producer() {
    let read = |message_type: &str, source: &str, body: &str| {
        let mut headers = headers(Uuid::now_v7(), "K1");
        headers.insert("ce-type", message_type);
        headers.insert("ce-source", source);
        choreography::envelope::decode::<Everything>("counter.event.added.K1", Some(&headers), body.as_bytes())
    };
    let (old, new) = (r#"{"counter_id":"K1","units":3}"#, r#"{"id":"K1","number":3}"#);
    assert_eq!(read("counter.added.v1", "/counter-service", old).unwrap().message_type, "counter.added.v1");
    assert!(read("counter.added.v4", "/successor", new).is_ok());
    for (message_type, source) in [("counter.added.v1", "/successor"), ("counter.added.v4", "/counter-service")] {
        let refused = read(message_type, source, old).unwrap_err();
        assert!(matches!(refused, choreography::envelope::Malformed::SourceMismatch(_)), "{refused}");
    }
}

/// The release before the upgrade.
#[derive(Clone, Copy)]
struct Old;

impl Decider for Old {
    type Message = v1::Add;
    type Event = v1::Added;
    type State = i64;

    fn decide(&self, _: &i64, message: &Envelope<v1::Add>) -> Vec<v1::Added> {
        let v1::Add { counter_id, units } = message.payload.clone();
        vec![v1::Added { counter_id, units }]
    }

    fn evolve(&self, total: i64, event: &v1::Added) -> i64 {
        total + event.units
    }
}

/// The release after the upgrade.
#[derive(Clone, Copy)]
struct New;

impl Decider for New {
    type Message = v2::Add;
    type Event = v2::Added;
    type State = i64;

    fn decide(&self, _: &i64, message: &Envelope<v2::Add>) -> Vec<v2::Added> {
        let v2::Add { counter_id, quantity } = message.payload.clone();
        vec![v2::Added { counter_id, quantity }]
    }

    fn evolve(&self, total: i64, event: &v2::Added) -> i64 {
        total + event.quantity.number
    }
}

fn policies(unknown_version_timeout: Duration) -> Policies {
    let mut policies = Policies::default();
    policies.min_retry_delay = Duration::from_millis(10);
    policies.max_retry_delay = Duration::from_millis(100);
    policies.unknown_version_timeout = unknown_version_timeout;
    policies
}

const HOUR: Duration = Duration::from_secs(3600);

async fn start<D>(bench: &Bench, decider: D, unknown_version_timeout: Duration) -> Running<EventSourced<D>>
where
    D: Decider + Clone,
    EventSourced<D>: Handler,
{
    let database = Databases::open::<Migrator>(&bench.url).await.unwrap();
    let builder = bench.builder(EventSourced(decider)).policies(policies(unknown_version_timeout));
    // Two instances that decide on the same counter conflict, which counts as a failure of the later message.
    let options = ServiceOptions { max_attempts: 1000, ..bench.options() };
    let running = run(builder.database(database).build().unwrap(), &options);
    eventually("the instance is ready", || async { running.readiness().await.0 }).await;
    running
}

async fn send(bench: &Bench, message: &impl Publish) {
    let mut headers = headers(Uuid::now_v7(), message.key());
    headers.insert("ce-type", message.message_type());
    bench.send_raw(&message.subject(), headers, serde_json::to_vec(message).unwrap()).await;
}

fn old_add(key: &str) -> v1::Add {
    v1::Add { counter_id: key.to_owned(), units: 1 }
}

fn new_add(key: &str) -> v2::Add {
    v2::Add { counter_id: key.to_owned(), quantity: pieces(1) }
}

/// Waits until readiness of an instance names a version.
async fn named<H>(running: &Running<H>, version: &str) {
    eventually("readiness names the version", || async {
        let (ready, text) = running.readiness().await;
        !ready && text.contains(version)
    })
    .await;
}

async fn events(bench: &Bench, count: u64) {
    eventually("the events are published", || async { bench.messages("EVENTS").await == count }).await;
}

async fn a_message_of_a_newer_version_waits_for_an_upgraded_instance(engine: Engine) {
    let bench = Bench::new(engine).await;
    let old = start(&bench, Old, HOUR).await;
    send(&bench, &new_add("K1")).await;
    named(&old, "counter.add.v2 is newer than v1").await;
    send(&bench, &old_add("K1")).await;
    events(&bench, 1).await;
    let new = start(&bench, New, HOUR).await;
    events(&bench, 2).await;
    eventually("the old instance is ready again", || async { old.readiness().await.0 }).await;
    bench.settled().await;
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
    let (ended, _) = new.stop().await;
    ended.unwrap();
}

async fn a_history_with_a_newer_version_waits_for_an_upgraded_instance(engine: Engine) {
    let bench = Bench::new(engine).await;
    let new = start(&bench, New, HOUR).await;
    send(&bench, &old_add("K1")).await;
    events(&bench, 1).await;
    new.stop().await.0.unwrap();
    let old = start(&bench, Old, HOUR).await;
    for key in ["K1", "K2", "K1"] {
        send(&bench, &old_add(key)).await;
    }
    named(&old, "counter.added.v2 is newer than v1").await;
    events(&bench, 2).await;
    let _new = start(&bench, New, HOUR).await;
    events(&bench, 4).await;
    bench.settled().await;
    assert_eq!(bench.messages("DEAD_LETTERS").await, 0);
}

async fn a_newer_version_becomes_a_dead_letter_after_the_time_limit_and_can_be_redriven(engine: Engine) {
    let bench = Bench::new(engine).await;
    let old = start(&bench, Old, Duration::from_millis(500)).await;
    send(&bench, &new_add("K1")).await;
    let dead_letter = bench.dead_letter().await;
    let header = |name: &str| dead_letter.headers.get(name).unwrap().as_str().to_owned();
    assert_eq!(dead_letter.subject.as_str(), "dead-letter.counter-service.unknown-version.K1");
    assert_eq!(header("Dead-Letter-Reason"), "unknown-version");
    // 10 + 20 + 40 + 80 + 4 × 100 ms.
    assert!(header("Dead-Letter-Attempts").parse::<u64>().unwrap() >= 8, "{}", header("Dead-Letter-Attempts"));
    bench.settled().await;
    let refused = redrive(&bench, &[1], false).await;
    assert!(
        matches!(&refused[..], [Outcome::Failed { reason }] if reason.contains("newer than v1")),
        "{refused:?}"
    );
    old.stop().await.0.unwrap();
    let _new = start(&bench, New, HOUR).await;
    assert_eq!(redrive(&bench, &[1], false).await, [Outcome::Handled]);
    assert_eq!(redrive(&bench, &[1], false).await, [Outcome::AlreadyHandled]);
    events(&bench, 1).await;
}

/// Returns the total of each counter, by a replay with the newest types.
async fn totals(bench: &Bench, keys: &[String]) -> BTreeMap<String, i64> {
    let histories = event_store::load(&bench.db, keys).await.unwrap();
    let total = |rows: Vec<event_store::RecordedEvent>| {
        let events = rows.iter().map(|row| v2::Added::decode(&row.message_type, row.body.as_bytes()).unwrap());
        events.fold(0, |total, event| New.evolve(total, &event))
    };
    histories.into_iter().map(|(key, rows)| (key, total(rows))).collect()
}

async fn a_rolling_upgrade_under_load_loses_nothing_and_handles_nothing_twice(engine: Engine) {
    const KEYS: usize = 20;
    const ROUNDS: usize = 30;
    let bench = Bench::new(engine).await;
    let keys: Vec<String> = (0..KEYS).map(|key| format!("K{key}")).collect();
    let mut old = vec![start(&bench, Old, HOUR).await, start(&bench, Old, HOUR).await];
    let mut new = Vec::new();
    for round in 0..ROUNDS {
        match round {
            // The second instance is replaced while the first one goes on, then the first one.
            8 => new.push(start(&bench, New, HOUR).await),
            12 => old.pop().unwrap().stop().await.0.unwrap(),
            20 => new.push(start(&bench, New, HOUR).await),
            24 => old.pop().unwrap().stop().await.0.unwrap(),
            _ => {}
        }
        for (index, key) in keys.iter().enumerate() {
            // The senders are upgraded one by one, too.
            if (index + round) % ROUNDS < round {
                send(&bench, &new_add(key)).await
            } else {
                send(&bench, &old_add(key)).await
            }
        }
    }
    let sent = u64::try_from(KEYS * ROUNDS).unwrap();
    events(&bench, sent).await;
    bench.settled().await;
    let expected: BTreeMap<String, i64> = keys.iter().map(|key| (key.clone(), ROUNDS as i64)).collect();
    assert_eq!(totals(&bench, &keys).await, expected);
    assert_eq!((bench.messages("EVENTS").await, bench.messages("DEAD_LETTERS").await), (sent, 0));
    let stream = bench.stream("EVENTS").await;
    let mut types = BTreeMap::new();
    for sequence in 1..=sent {
        let event = stream.get_raw_message(sequence).await.unwrap();
        *types.entry(event.headers.get("ce-type").unwrap().as_str().to_owned()).or_insert(0) += 1;
    }
    assert!(types["counter.added.v1"] > 100 && types["counter.added.v2"] > 100, "{types:?}");
}
