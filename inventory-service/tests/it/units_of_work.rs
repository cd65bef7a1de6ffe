//! Batches on a database have the same result as the rules on all of the stock.

use std::time::{Duration, Instant};

use choreography::{Envelope, Outgoing, Publish as _, inbox};
use inventory_service::stock::{Stock, StockMessage};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use sea_orm::{DatabaseConnection, EntityTrait};
use tokio::runtime::{Builder, Runtime};

use crate::database::{Engine, TestDatabase, begin_with, envelope, handle, open, whole};
use crate::given::{available, cancelled, placed, product_id, restock};
use crate::on_both_databases;
use crate::properties::{Story, config, count, stories, unserved};

on_both_databases!(
    an_order_that_starts_to_wait_does_not_overtake_lines_that_were_not_loaded,
    an_order_that_starts_to_wait_does_not_overtake_lines_after_a_cancelled_one,
    an_order_does_not_overtake_one_that_is_ahead_of_it_only_on_another_product,
    a_restock_that_the_inbox_has_forgotten_changes_nothing,
    a_queue_that_takes_several_statements_is_served_completely,
    a_restock_serves_a_thousand_orders_in_one_transaction,
);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The compared parts of an event: all but its id.
fn parts(outgoing: &Outgoing) -> (String, Option<i64>, uuid::Uuid, uuid::Uuid, String) {
    let body = String::from_utf8(outgoing.body.clone()).unwrap();
    let cause = &outgoing.cause;
    (outgoing.subject.clone(), outgoing.aggregate_version, cause.id, cause.correlation_id, body)
}

/// Applies a story in batches of the given sizes, and compares events and state after each batch with the rules.
async fn compare(db: &DatabaseConnection, story: &Story, sizes: &[usize]) -> Result<(), TestCaseError> {
    let mut stock = story.beginning();
    begin_with(db, &stock).await;
    let mut messages = story.messages.as_slice();
    for size in sizes.iter().cycle() {
        let (batch, rest) = messages.split_at(messages.len().min(*size));
        messages = rest;
        let batch: Vec<_> = batch.iter().map(envelope).collect();
        let outgoing = handle(db, &batch).await.unwrap();
        let mut expected = Vec::new();
        for message in &batch {
            for decided in stock.decide(&message.payload, message.correlation_id) {
                let body = serde_json::to_string(&decided.event).unwrap();
                let subject = decided.event.subject();
                expected.push((subject, Some(decided.version), message.id, decided.correlation_id, body));
            }
        }
        prop_assert_eq!(outgoing.iter().map(parts).collect::<Vec<_>>(), expected);
        prop_assert_eq!(&whole(db).await, &stock);
        if messages.is_empty() {
            break;
        }
    }
    Ok(())
}

fn batches_on(engine: Engine, cases: u32) {
    let runtime = runtime();
    let database = runtime.block_on(TestDatabase::new(engine));
    let strategy = (stories(30, 100), vec(1..20_usize, 1..6));
    TestRunner::new(config(cases))
        .run(&strategy, |(story, sizes)| runtime.block_on(compare(&database.db, &story, &sizes)))
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn batches_on_a_part_of_the_stock_have_the_same_result_on_sqlite() {
    batches_on(Engine::Sqlite, 150);
}

#[test]
fn batches_on_a_part_of_the_stock_have_the_same_result_on_postgres() {
    batches_on(Engine::Postgres, 60);
}

/// Handles messages as an instance does: a failed batch is retried message by message.
async fn handle_all(db: DatabaseConnection, messages: Vec<Envelope<StockMessage>>, size: usize) {
    for batch in messages.chunks(size) {
        if handle(&db, batch).await.is_ok() {
            continue;
        }
        for message in batch {
            let mut tries = 0;
            while let Err(error) = handle(&db, std::slice::from_ref(message)).await {
                tries += 1;
                assert!(tries < 20, "{error}");
            }
        }
    }
}

/// Two instances share the messages of a story.
async fn share(database: &TestDatabase, story: &Story, size: usize) -> Result<(), TestCaseError> {
    begin_with(&database.db, &story.beginning()).await;
    let mut expected = story.available.clone();
    for message in &story.messages {
        if let StockMessage::Restock(restock) = message {
            *expected.entry(restock.product_id.clone()).or_default() += u64::from(restock.quantity.get());
        }
    }
    let (ours, theirs): (Vec<_>, Vec<_>) =
        story.messages.iter().enumerate().partition(|(index, _)| (index / size).is_multiple_of(2));
    let envelopes =
        |half: Vec<(usize, &StockMessage)>| half.into_iter().map(|(_, message)| envelope(message)).collect();
    let other = open(&database.url).await;
    tokio::join!(
        handle_all(database.db.clone(), envelopes(ours), size),
        handle_all(other.clone(), envelopes(theirs), size)
    );
    other.close().await.unwrap();
    let stock = whole(&database.db).await;
    prop_assert_eq!(count(&stock), expected);
    prop_assert_eq!(unserved(&stock), vec![]);
    Ok(())
}

fn two_instances_on(engine: Engine, cases: u32) {
    let runtime = runtime();
    let database = runtime.block_on(TestDatabase::new(engine));
    TestRunner::new(config(cases))
        .run(&(stories(30, 150), 1..10_usize), |(story, size)| runtime.block_on(share(&database, &story, size)))
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn two_instances_lose_no_unit_and_leave_no_order_in_reach_unserved_on_sqlite() {
    two_instances_on(Engine::Sqlite, 8);
}

#[test]
fn two_instances_lose_no_unit_and_leave_no_order_in_reach_unserved_on_postgres() {
    two_instances_on(Engine::Postgres, 30);
}

/// Applies some messages, one per batch, then others in one batch. Returns the stock in the database and the expected
/// one.
async fn then_one_batch(
    engine: Engine,
    products: &[(&str, u64)],
    before: &[StockMessage],
    batch: &[StockMessage],
) -> (Stock, Stock) {
    let database = TestDatabase::new(engine).await;
    let mut stock = available(products);
    begin_with(&database.db, &stock).await;
    for message in before.iter().map(envelope) {
        stock.decide(&message.payload, message.correlation_id);
        handle(&database.db, &[message]).await.unwrap();
    }
    let batch: Vec<_> = batch.iter().map(envelope).collect();
    for message in &batch {
        stock.decide(&message.payload, message.correlation_id);
    }
    handle(&database.db, &batch).await.unwrap();
    (whole(&database.db).await, stock)
}

async fn an_order_that_starts_to_wait_does_not_overtake_lines_that_were_not_loaded(engine: Engine) {
    let before = [placed("A", &[("CUP", 3)]), placed("B", &[("CUP", 10)]), placed("C", &[("CUP", 10)])];
    let batch = [placed("D", &[("CUP", 1)]), restock("CUP", 5)];
    let (found, expected) = then_one_batch(engine, &[("CUP", 0)], &before, &batch).await;
    assert_eq!(found, expected);
}

async fn an_order_that_starts_to_wait_does_not_overtake_lines_after_a_cancelled_one(engine: Engine) {
    let before = [placed("A", &[("CUP", 3)]), placed("B", &[("CUP", 10)]), placed("C", &[("CUP", 10)])];
    let batch = [placed("D", &[("CUP", 1)]), cancelled("B"), restock("CUP", 5)];
    let (found, expected) = then_one_batch(engine, &[("CUP", 0)], &before, &batch).await;
    assert_eq!(found, expected);
}

async fn an_order_does_not_overtake_one_that_is_ahead_of_it_only_on_another_product(engine: Engine) {
    let before = [placed("A", &[("TEA", 10)]), placed("B", &[("CUP", 1), ("TEA", 3)])];
    let (found, expected) = then_one_batch(engine, &[("CUP", 0), ("TEA", 5)], &before, &[restock("CUP", 1)]).await;
    assert_eq!(found, expected);
}

async fn a_queue_that_takes_several_statements_is_served_completely(engine: Engine) {
    let names: Vec<_> = (0..40).map(|index| format!("P{index}")).collect();
    let lines: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let empty: Vec<_> = names.iter().map(|name| (name.as_str(), 0)).collect();
    let before: Vec<_> = (0..5).map(|index| placed(&format!("O{index}"), &lines)).collect();
    let batch: Vec<_> = names.iter().map(|name| restock(name, 4)).collect();
    let (found, expected) = then_one_batch(engine, &empty, &before, &batch).await;
    assert_eq!(found, expected);
    assert_eq!(found.queues[&product_id("P0")].len(), 1);
}

async fn a_restock_serves_a_thousand_orders_in_one_transaction(engine: Engine) {
    const ORDERS: usize = 1000;
    let database = TestDatabase::new(engine).await;
    begin_with(&database.db, &available(&[("CUP", 0)])).await;
    let orders: Vec<_> = (0..ORDERS).map(|index| envelope(&placed(&format!("O{index}"), &[("CUP", 1)]))).collect();
    for batch in orders.chunks(256) {
        handle(&database.db, batch).await.unwrap();
    }
    let began = Instant::now();
    let published = handle(&database.db, &[envelope(&restock("CUP", 1_000_000))]).await.unwrap();
    assert_eq!(published.len(), 1 + ORDERS);
    // A handler has 15 s. Optimised code needs a tenth of the time or less.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(whole(&database.db).await.products[&product_id("CUP")].available, 1_000_000 - ORDERS as u64);
}

async fn a_restock_that_the_inbox_has_forgotten_changes_nothing(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    begin_with(&database.db, &available(&[("CUP", 1)])).await;
    let command = envelope(&restock("CUP", 5));
    assert_eq!(handle(&database.db, std::slice::from_ref(&command)).await.unwrap().len(), 1);
    let stock = whole(&database.db).await;
    inbox::entity::Entity::delete_many().exec(&database.db).await.unwrap();
    let other = envelope(&restock("TEA", 2));
    let outgoing = handle(&database.db, &[command, other]).await.unwrap();
    let subjects: Vec<&str> = outgoing.iter().map(|outgoing| outgoing.subject.as_str()).collect();
    assert_eq!(subjects, ["inventory.event.restocked.TEA"], "the other command is handled");
    assert_eq!(whole(&database.db).await.products[&product_id("CUP")], stock.products[&product_id("CUP")]);
}
