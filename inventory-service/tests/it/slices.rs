//! Batches on a database against the rules on all of the stock.

use inventory_service::stock::{Stock, StockMessage};
use messaging::Outgoing;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use sea_orm::DatabaseConnection;
use tokio::runtime::{Builder, Runtime};

use crate::database::{TestDatabase, begin_with, envelope, handle, whole};
use crate::given::{cancelled, placed, product_id, restock, shelf};
use crate::properties::{Story, config, stories};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What is compared of an event: all that others see but its id.
fn said(outgoing: &Outgoing) -> (String, Option<i64>, uuid::Uuid, uuid::Uuid, String) {
    let body = String::from_utf8(outgoing.body.clone()).unwrap();
    let cause = &outgoing.cause;
    (outgoing.subject.clone(), outgoing.aggregate_version, cause.id, cause.correlation_id, body)
}

/// Tells a story in batches of those sizes, and compares events and state after each with the rules.
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
        prop_assert_eq!(outgoing.iter().map(said).collect::<Vec<_>>(), expected);
        prop_assert_eq!(&whole(db).await, &stock);
        if messages.is_empty() {
            break;
        }
    }
    Ok(())
}

fn batches_on(db: &DatabaseConnection, runtime: &Runtime) {
    let told = (stories(30, 100), vec(1..20_usize, 1..6));
    TestRunner::new(config(300))
        .run(&told, |(story, sizes)| runtime.block_on(compare(db, &story, &sizes)))
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn batches_on_a_slice_end_where_the_rules_on_all_of_the_stock_do() {
    let runtime = runtime();
    let database = runtime.block_on(TestDatabase::sqlite());
    batches_on(&database.db, &runtime);
}

/// Tells a stock some messages, one batch each, then others in one batch, and returns what stands in the database
/// and what should.
async fn then_one_batch(
    products: &[(&str, u64)],
    before: &[StockMessage],
    batch: &[StockMessage],
) -> (Stock, Stock) {
    let database = TestDatabase::sqlite().await;
    let mut stock = shelf(products);
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

#[tokio::test]
async fn an_order_that_begins_to_wait_does_not_pass_those_that_were_not_loaded() {
    let before = [placed("A", &[("CUP", 3)]), placed("B", &[("CUP", 10)]), placed("C", &[("CUP", 10)])];
    let batch = [placed("D", &[("CUP", 1)]), restock("CUP", 5)];
    let (found, expected) = then_one_batch(&[("CUP", 0)], &before, &batch).await;
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_order_that_begins_to_wait_does_not_pass_those_behind_one_that_is_cancelled() {
    let before = [placed("A", &[("CUP", 3)]), placed("B", &[("CUP", 10)]), placed("C", &[("CUP", 10)])];
    let batch = [placed("D", &[("CUP", 1)]), cancelled("B"), restock("CUP", 5)];
    let (found, expected) = then_one_batch(&[("CUP", 0)], &before, &batch).await;
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_order_does_not_pass_one_that_is_ahead_of_it_only_on_another_product() {
    let before = [placed("A", &[("TEA", 10)]), placed("B", &[("CUP", 1), ("TEA", 3)])];
    let (found, expected) = then_one_batch(&[("CUP", 0), ("TEA", 5)], &before, &[restock("CUP", 1)]).await;
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_queue_that_fills_many_statements_is_served_whole() {
    let names: Vec<_> = (0..40).map(|index| format!("P{index}")).collect();
    let lines: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let empty: Vec<_> = names.iter().map(|name| (name.as_str(), 0)).collect();
    let before: Vec<_> = (0..5).map(|index| placed(&format!("O{index}"), &lines)).collect();
    let batch: Vec<_> = names.iter().map(|name| restock(name, 4)).collect();
    let (found, expected) = then_one_batch(&empty, &before, &batch).await;
    assert_eq!(found, expected);
    assert_eq!(found.queues[&product_id("P0")].len(), 1);
}
