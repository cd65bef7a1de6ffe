//! Snapshots: the same decisions as without them, and only the events after them are read.

use choreography::testing::sqlite_in_memory;
use choreography::time_travel::present;
use choreography::{Decider, Envelope, Event, EventSourced, Handler, Message, Snapshots, event_store};
use proptest::prelude::*;
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::counter::Migrator;
use crate::on_both_databases;
use crate::support::{Bench, Engine};

on_both_databases!(
    only_the_events_after_a_snapshot_are_read,
    a_snapshot_commits_with_its_events_or_not_at_all,
    a_snapshot_of_another_schema_or_one_that_cannot_be_read_is_ignored_and_replaced,
    many_aggregates_with_and_without_snapshots_are_loaded_at_once,
);

/// An amount was booked on an account: deposits are positive.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[message(context = "account", name = "booked", version = 1, key = account_id, producer = "account-service")]
struct Booked {
    account_id: String,
    amount: i64,
    /// Depends on each earlier event and their order.
    digest: i64,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Account {
    balance: i64,
    digest: i64,
}

/// An account that is never overdrawn. A snapshot follows `EVERY` events; none if that is 0.
#[derive(Clone, Copy)]
struct Ledger<const EVERY: u32, const SCHEMA: u32>;

impl<const EVERY: u32, const SCHEMA: u32> Decider for Ledger<EVERY, SCHEMA> {
    type Message = Booked;
    type Event = Booked;
    type State = Account;

    const SNAPSHOTS: Option<Snapshots<Account>> =
        if EVERY == 0 { None } else { Some(Snapshots::every(EVERY, SCHEMA)) };

    fn decide(&self, account: &Account, message: &Envelope<Booked>) -> Vec<Booked> {
        let Booked { account_id, amount, .. } = message.payload.clone();
        if account.balance + amount < 0 {
            return Vec::new();
        }
        let digest = account.digest.wrapping_mul(31).wrapping_add(amount);
        let halves = [amount / 2, amount - amount / 2];
        match amount % 3 {
            0 => halves.map(|amount| Booked { account_id: account_id.clone(), amount, digest }).to_vec(),
            _ => vec![Booked { account_id, amount, digest }],
        }
    }

    fn evolve(&self, account: Account, event: &Booked) -> Account {
        Account {
            balance: account.balance + event.amount,
            digest: event.digest.wrapping_mul(7).wrapping_add(event.amount),
        }
    }
}

fn booking(account: &str, amount: i64) -> Envelope<Booked> {
    let id = Uuid::now_v7();
    Envelope {
        id,
        message_type: Booked::TYPE.to_owned(),
        source: "/tester".to_owned(),
        key: account.to_owned(),
        time: OffsetDateTime::UNIX_EPOCH,
        correlation_id: id,
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: None,
        payload: Booked { account_id: account.to_owned(), amount, digest: 0 },
    }
}

/// The version and the body of an event.
type Published = (Option<i64>, String);

/// Handles a batch in one transaction, and returns the events.
async fn handle<D>(db: &DatabaseConnection, decider: D, batch: &[Envelope<Booked>]) -> Vec<Published>
where
    D: Decider<Message = Booked>,
{
    let tx = db.begin().await.unwrap();
    let batch: Vec<_> = batch.iter().collect();
    let outgoing = EventSourced(decider).handle(&tx, &batch).await.unwrap();
    tx.commit().await.unwrap();
    let event = |event: choreography::Outgoing| (event.aggregate_version, String::from_utf8(event.body).unwrap());
    outgoing.into_iter().map(event).collect()
}

async fn count(db: &DatabaseConnection, sql: &str) -> i64 {
    let statement = sea_orm::Statement::from_string(db.get_database_backend(), sql);
    db.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

async fn version(db: &DatabaseConnection) -> i64 {
    count(db, "SELECT COALESCE(MAX(version), 0) FROM snapshots").await
}

async fn only_the_events_after_a_snapshot_are_read(engine: Engine) {
    let bench = Bench::new(engine).await;
    let (db, ledger) = (&bench.db, Ledger::<10, 1>);
    for amount in (1..).filter(|amount| amount % 3 != 0).take(9) {
        handle(db, ledger, &[booking("A", amount)]).await;
    }
    assert_eq!(count(db, "SELECT COUNT(*) FROM snapshots").await, 0);
    handle(db, ledger, &[booking("A", 100), booking("A", 100)]).await;
    assert_eq!((version(db).await, count(db, "SELECT COUNT(*) FROM events").await), (11, 11));
    handle(db, ledger, &[booking("A", 1)]).await;
    assert_eq!(version(db).await, 11, "the next snapshot is due ten events later");

    // The present is that of the snapshot and the events after it.
    let balance = [1, 2, 4, 5, 7, 8, 10, 11, 13].iter().sum::<i64>() + 201;
    let now = present(&ledger, db, "A").await.unwrap().unwrap();
    assert_eq!((now.version, now.state.balance), (12, balance));
    assert!(present(&ledger, db, "absent").await.unwrap().is_none());

    // What the snapshot holds is not read: without those events, the balance is the same.
    db.execute_unprepared("DELETE FROM events WHERE version <= 11").await.unwrap();
    let now = present(&ledger, db, "A").await.unwrap().unwrap();
    assert_eq!((now.version, now.state.balance), (12, balance));
    assert!(handle(db, ledger, &[booking("A", -balance - 1)]).await.is_empty());
    let events = handle(db, ledger, &[booking("A", -balance)]).await;
    assert_eq!(events.last().unwrap().0, Some(12 + i64::try_from(events.len()).unwrap()));
}

async fn a_snapshot_commits_with_its_events_or_not_at_all(engine: Engine) {
    let bench = Bench::new(engine).await;
    let tx = bench.db.begin().await.unwrap();
    EventSourced(Ledger::<1, 1>).handle(&tx, &[&booking("A", 1)]).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(version(&bench.db).await, 0);
    handle(&bench.db, Ledger::<1, 1>, &[booking("A", 1)]).await;
    assert_eq!(version(&bench.db).await, 1);
}

async fn a_snapshot_of_another_schema_or_one_that_cannot_be_read_is_ignored_and_replaced(engine: Engine) {
    let bench = Bench::new(engine).await;
    let db = &bench.db;
    handle(db, Ledger::<1, 1>, &[booking("A", 1), booking("A", 1)]).await;
    // As written by a release with another state.
    db.execute_unprepared(r#"UPDATE snapshots SET state = '{"balance":1000,"digest":0}'"#).await.unwrap();
    assert!(handle(db, Ledger::<1, 2>, &[booking("A", -500)]).await.is_empty());
    assert_eq!(handle(db, Ledger::<1, 2>, &[booking("A", 1)]).await.len(), 1);
    assert_eq!(count(db, "SELECT schema FROM snapshots").await, 2);

    db.execute_unprepared("UPDATE snapshots SET state = 'not JSON'").await.unwrap();
    assert!(handle(db, Ledger::<1, 2>, &[booking("A", -4)]).await.is_empty());
    assert_eq!(handle(db, Ledger::<1, 2>, &[booking("A", -2)]).await[0].0, Some(4));
    assert_eq!(version(db).await, 4);
}

async fn many_aggregates_with_and_without_snapshots_are_loaded_at_once(engine: Engine) {
    let bench = Bench::new(engine).await;
    let keys: Vec<String> = (0..300).map(|n| format!("A{n}")).collect();
    let all = |amount: i64| keys.iter().map(|key| booking(key, amount)).collect::<Vec<_>>();
    handle(&bench.db, Ledger::<2, 1>, &all(1)).await;
    let some: Vec<_> = keys.iter().step_by(2).map(|key| booking(key, 1)).collect();
    handle(&bench.db, Ledger::<2, 1>, &some).await;
    assert_eq!(count(&bench.db, "SELECT COUNT(*) FROM snapshots").await, 150);
    let events = handle(&bench.db, Ledger::<2, 1>, &all(4)).await;
    let versions: Vec<_> = events.iter().map(|(version, _)| version.unwrap()).collect();
    let mut expected: Vec<(String, i64)> =
        keys.iter().enumerate().map(|(n, key)| (key.clone(), if n % 2 == 0 { 3 } else { 2 })).collect();
    assert_eq!(versions, expected.iter().map(|(_, version)| *version).collect::<Vec<_>>());
    expected.push(("absent".to_owned(), 0));
    let ids: Vec<String> = expected.iter().map(|(id, _)| id.clone()).collect();
    let histories = event_store::load(&bench.db, &ids).await.unwrap();
    assert!(expected.iter().all(|(id, version)| histories.get(id).map_or(0, Vec::len) as i64 == *version));
}

/// Batches of bookings on a few accounts.
fn batches() -> impl Strategy<Value = Vec<Vec<(u8, i64)>>> {
    prop::collection::vec(prop::collection::vec((0_u8..3, -20_i64..40), 1..6), 1..12)
}

#[test]
fn the_state_with_snapshots_is_the_state_without() {
    async fn run<D: Decider<Message = Booked> + Copy>(
        decider: D,
        batches: &[Vec<Envelope<Booked>>],
    ) -> Vec<Published> {
        let db = sqlite_in_memory::<Migrator>().await.unwrap();
        let mut events = Vec::new();
        for batch in batches {
            events.extend(handle(&db, decider, batch).await);
        }
        events
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    proptest!(ProptestConfig::with_cases(40), |(batches in batches())| {
        let envelope = |(account, amount): &(u8, i64)| booking(&format!("A{account}"), *amount);
        let batches: Vec<Vec<_>> = batches.iter().map(|batch| batch.iter().map(envelope).collect()).collect();
        runtime.block_on(async {
            let expected = run(Ledger::<0, 1>, &batches).await;
            prop_assert_eq!(&run(Ledger::<1, 1>, &batches).await, &expected);
            prop_assert_eq!(&run(Ledger::<2, 1>, &batches).await, &expected);
            prop_assert_eq!(&run(Ledger::<7, 1>, &batches).await, &expected);
            Ok(())
        })?;
    });
}
