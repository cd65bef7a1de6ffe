//! Batches on a database have the same result as the rules, also if two instances share it.

use std::collections::BTreeMap;

use account_service::account::Account;
use choreography::{HandleError, Messages as _, Outgoing, Publish as _};
use contracts::account::{AccountCommand, AccountEvent};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use sea_orm::{ConnectionTrait, DatabaseConnection, EntityTrait};
use tokio::runtime::{Builder, Runtime};

use crate::database::{Engine, TestDatabase, envelope, handle, handle_all, open, whole};
use crate::given::{apply, create_of, delete_of, update_of};
use crate::on_both_databases;
use crate::properties::{commands, config};

on_both_databases!(
    events_have_a_version_a_cause_and_a_correlation_id,
    a_command_that_is_handled_again_publishes_the_same_event_with_the_same_id,
    a_deleted_account_is_not_created_again_by_a_command_that_the_inbox_has_forgotten,
    a_batch_of_hundreds_of_commands_is_handled_in_order,
    the_details_of_a_deleted_account_are_gone,
    the_database_refuses_a_deleted_account_with_details,
);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn events_of(outgoing: &[Outgoing]) -> Vec<AccountEvent> {
    outgoing.iter().map(|message| AccountEvent::decode(message.message_type, &message.body).unwrap()).collect()
}

/// Applies commands by the rules alone.
fn play(commands: &[AccountCommand]) -> (BTreeMap<String, Account>, Vec<AccountEvent>) {
    let mut accounts = BTreeMap::<String, Account>::new();
    let emitted =
        commands.iter().filter_map(|command| apply(accounts.entry(command.key().to_owned()).or_default(), command));
    let events = emitted.collect();
    accounts.retain(|_, account| *account != Account::Unknown);
    (accounts, events)
}

async fn empty(db: &DatabaseConnection) {
    account_service::entity::account::Entity::delete_many().exec(db).await.unwrap();
}

async fn compare(db: &DatabaseConnection, commands: &[AccountCommand], size: usize) -> Result<(), TestCaseError> {
    empty(db).await;
    let (accounts, events) = play(commands);
    let mut outgoing = Vec::new();
    for batch in commands.chunks(size) {
        outgoing.extend(handle_all(db, batch).await);
    }
    prop_assert_eq!(events_of(&outgoing), events);
    prop_assert_eq!(whole(db).await, accounts);
    Ok(())
}

fn batches_on(engine: Engine, cases: u32) {
    let runtime = runtime();
    let database = runtime.block_on(TestDatabase::new(engine));
    TestRunner::new(config(cases))
        .run(&(commands(6, 60), 1..20_usize), |(commands, size)| {
            runtime.block_on(compare(&database.db, &commands, size))
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn batches_have_the_same_result_as_the_rules_on_sqlite() {
    batches_on(Engine::Sqlite, 40);
}

#[test]
fn batches_have_the_same_result_as_the_rules_on_postgres() {
    batches_on(Engine::Postgres, 40);
}

/// Handles commands as an instance does: a failed batch is retried message by message.
async fn instance(db: DatabaseConnection, commands: Vec<AccountCommand>, size: usize) -> Vec<AccountEvent> {
    let mut outgoing = Vec::new();
    for batch in commands.chunks(size) {
        let batch: Vec<_> = batch.iter().map(envelope).collect();
        if let Ok(published) = handle(&db, &batch).await {
            outgoing.extend(published);
            continue;
        }
        for message in batch {
            outgoing.extend(until_handled(&db, message).await);
        }
    }
    events_of(&outgoing)
}

async fn until_handled(
    db: &DatabaseConnection,
    message: choreography::Envelope<contracts::account::AccountCommand>,
) -> Vec<Outgoing> {
    let batch = [message];
    for _ in 0..100 {
        match handle(db, &batch).await {
            Ok(published) => return published,
            Err(HandleError::Retry(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a command that cannot be handled");
}

/// Two instances change the same accounts at the same time.
async fn race(database: &TestDatabase, commands: &[AccountCommand], size: usize) -> Result<(), TestCaseError> {
    empty(&database.db).await;
    let other = open(&database.url).await;
    let (ours, theirs) = tokio::join!(
        instance(database.db.clone(), commands.to_vec(), size),
        instance(other.clone(), commands.to_vec(), size),
    );
    other.close().await.unwrap();
    let mut versions = BTreeMap::<String, Vec<i64>>::new();
    for event in ours.iter().chain(&theirs) {
        let version = match event {
            AccountEvent::Changed(changed) => changed.version,
            AccountEvent::Deleted(deleted) => deleted.version,
            AccountEvent::Refused(_) => continue,
        };
        versions.entry(event.key().to_owned()).or_default().push(version);
    }
    let accounts = whole(&database.db).await;
    prop_assert_eq!(accounts.len(), versions.len());
    for (id, versions) in &mut versions {
        versions.sort_unstable();
        let last = i64::try_from(versions.len()).unwrap();
        prop_assert_eq!(&*versions, &(1..=last).collect::<Vec<_>>(), "{}: each version is made once", id);
        prop_assert_eq!(accounts[id].version(), last);
    }
    Ok(())
}

fn races_on(engine: Engine, cases: u32) {
    let runtime = runtime();
    let database = runtime.block_on(TestDatabase::new(engine));
    TestRunner::new(config(cases))
        .run(&(commands(4, 40), 1..8_usize), |(commands, size)| runtime.block_on(race(&database, &commands, size)))
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn two_instances_never_make_the_same_version_twice_on_sqlite() {
    races_on(Engine::Sqlite, 8);
}

#[test]
fn two_instances_never_make_the_same_version_twice_on_postgres() {
    races_on(Engine::Postgres, 30);
}

async fn events_have_a_version_a_cause_and_a_correlation_id(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let batch = [create_of("A", "Zoë"), update_of("A", 1, "Ann"), update_of("A", 1, "Eve"), delete_of("A", 2)];
    let batch: Vec<_> = batch.iter().map(envelope).collect();
    let outgoing = handle(&database.db, &batch).await.unwrap();
    let shown: Vec<_> =
        outgoing.iter().map(|message| (message.subject.as_str(), message.aggregate_version)).collect();
    let expected = [
        ("account.event.changed.A", Some(1)),
        ("account.event.changed.A", Some(2)),
        ("account.event.refused.A", None),
        ("account.event.deleted.A", Some(3)),
    ];
    assert_eq!(shown, expected);
    for (message, command) in outgoing.iter().zip(&batch) {
        assert_eq!((message.cause.id, message.cause.correlation_id), (command.id, command.correlation_id));
    }
}

async fn a_command_that_is_handled_again_publishes_the_same_event_with_the_same_id(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let command = [envelope(&create_of("A", "Zoë"))];
    let first = handle(&database.db, &command).await.unwrap();
    assert!(handle(&database.db, &command).await.is_err(), "the inbox has the command");
    empty(&database.db).await;
    choreography::inbox::entity::Entity::delete_many().exec(&database.db).await.unwrap();
    choreography::effects::entity::Entity::delete_many().exec(&database.db).await.unwrap();
    let again = handle(&database.db, &command).await.unwrap();
    assert_eq!((first[0].id, &first[0].body), (again[0].id, &again[0].body));
}

async fn a_deleted_account_is_not_created_again_by_a_command_that_the_inbox_has_forgotten(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let command = [envelope(&create_of("A", "Zoë"))];
    handle(&database.db, &command).await.unwrap();
    handle_all(&database.db, &[delete_of("A", 1)]).await;
    choreography::inbox::entity::Entity::delete_many().exec(&database.db).await.unwrap();
    assert_eq!(handle(&database.db, &command).await.unwrap().len(), 0);
    assert_eq!(whole(&database.db).await["A"], Account::Deleted { version: 2 });
}

async fn a_batch_of_hundreds_of_commands_is_handled_in_order(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let mut commands = Vec::new();
    for index in 0..120 {
        let id = format!("C{index}");
        commands.push(create_of(&id, "Zoë"));
        commands.push(update_of(&id, 1, "Ann"));
    }
    let (accounts, events) = play(&commands);
    assert_eq!(events_of(&handle_all(&database.db, &commands).await), events);
    assert_eq!(whole(&database.db).await, accounts);
    // Now the rows exist.
    let commands: Vec<_> = (0..120).map(|index| delete_of(&format!("C{index}"), 2)).collect();
    handle_all(&database.db, &commands).await;
    assert!(whole(&database.db).await.values().all(|account| *account == Account::Deleted { version: 3 }));
}

async fn the_details_of_a_deleted_account_are_gone(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    handle_all(&database.db, &[create_of("A", "Zoë"), delete_of("A", 1)]).await;
    let row = account_service::entity::account::Entity::find_by_id("A").one(&database.db).await.unwrap().unwrap();
    assert_eq!((row.version, row.deleted, row.details), (2, true, None));
}

async fn the_database_refuses_a_deleted_account_with_details(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    handle_all(&database.db, &[create_of("A", "Zoë")]).await;
    assert!(database.db.execute_unprepared("UPDATE accounts SET deleted = TRUE").await.is_err());
    assert!(database.db.execute_unprepared("UPDATE accounts SET details = NULL").await.is_err());
    assert!(database.db.execute_unprepared("UPDATE accounts SET version = 0").await.is_err());
}
