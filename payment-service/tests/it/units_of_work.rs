//! The tables equal the aggregates, and two instances never exceed a limit.

use std::collections::BTreeMap;

use choreography::Envelope;
use payment_service::entity::payment::Status;
use payment_service::payment::{Account, Aggregates, PaymentMessage};
use payment_service::unit_of_work;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sea_orm::TransactionTrait;

use crate::database::{Engine, TestDatabase, copies, envelope, exposures, handle, open, payments};
use crate::given::{
    NOW, POLICY, account, account_with, cancelled, customer_id, deleted, order_id, placed, reserved,
};
use crate::on_both_databases;

on_both_databases!(
    batches_on_a_database_have_the_same_result_as_single_messages_in_memory,
    repeated_and_reordered_account_events_leave_the_newest_version,
    concurrent_orders_on_several_instances_never_exceed_a_limit,
    concurrent_messages_of_one_order_on_two_instances_are_all_applied,
);

const CUSTOMERS: [&str; 3] = ["ANN", "BOB", "CYD"];

fn message() -> impl Strategy<Value = PaymentMessage> {
    let order = (0..60_usize).prop_map(|order| (format!("O{order}"), CUSTOMERS[order % 3]));
    prop_oneof![
        4 => order.clone().prop_map(|(order, customer)| placed(&order, customer, 40)),
        4 => order.clone().prop_map(|(order, _)| reserved(&order)),
        2 => order.prop_map(|(order, _)| cancelled(&order)),
        3 => (0..3_usize, 1..5_i64, 0..120_i64)
            .prop_map(|(customer, version, limit)| account(CUSTOMERS[customer], version, limit)),
        1 => (0..3_usize, 1..5_i64).prop_map(|(customer, version)| deleted(CUSTOMERS[customer], version)),
    ]
}

/// Applies a batch as the handler does: accounts before orders.
fn apply_all(aggregates: &mut Aggregates, batch: &[Envelope<PaymentMessage>]) -> Vec<uuid::Uuid> {
    let (accounts, orders): (Vec<_>, Vec<_>) =
        batch.iter().partition(|message| Account::of(&message.payload).is_some());
    let published = accounts.into_iter().chain(orders).filter_map(|message| {
        let decided = aggregates.apply(&message.payload, &message.cause(), NOW, &POLICY)?;
        Some(decided.cause.id)
    });
    published.collect()
}

async fn batches_on_a_database_have_the_same_result_as_single_messages_in_memory(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let db = &database.db;
    let mut runner = TestRunner::deterministic();
    let mut aggregates = Aggregates::default();
    for _ in 0..40 {
        let messages = proptest::collection::vec(message(), 1..20).new_tree(&mut runner).unwrap().current();
        let batch: Vec<_> = messages.iter().map(envelope).collect();
        let expected = apply_all(&mut aggregates, &batch);
        let outgoing = handle(db, &batch).await.unwrap();
        assert_eq!(outgoing.iter().map(|published| published.cause.id).collect::<Vec<_>>(), expected);
    }
    let tx = db.begin().await.unwrap();
    let all = aggregates.payments.keys().cloned().collect();
    let stored = unit_of_work::load_orders(&tx, &all).await.unwrap();
    assert_eq!(stored.payments, aggregates.payments);
    assert!(aggregates.payments.values().any(|payment| payment.state.is_exposed()));
    let exposed: BTreeMap<_, _> = aggregates.exposures.iter().filter(|(_, amount)| **amount > 0).collect();
    let stored: BTreeMap<_, _> = stored.exposures.iter().filter(|(_, amount)| **amount > 0).collect();
    assert_eq!(stored, exposed);
}

async fn repeated_and_reordered_account_events_leave_the_newest_version(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let db = &database.db;
    let newest = account_with("ANN", 3, None, 70);
    for batch in [
        vec![account("ANN", 1, 100), account("ANN", 1, 100), deleted("BOB", 2)],
        vec![newest, account("ANN", 2, 50), account("BOB", 1, 100)],
        vec![account("ANN", 2, 50), deleted("BOB", 2)],
    ] {
        let batch: Vec<_> = batch.iter().map(envelope).collect();
        assert!(handle(db, &batch).await.unwrap().is_empty());
    }
    let rows = copies(db).await;
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (rows[0].version, rows[0].deleted, rows[0].limit_amount, &rows[0].token),
        (3, false, Some(70), &None)
    );
    assert_eq!((rows[1].version, rows[1].deleted, rows[1].limit_amount), (2, true, None));
}

async fn concurrent_orders_on_several_instances_never_exceed_a_limit(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let instances = [database.db.clone(), open(&database.url).await, open(&database.url).await];
    let accounts = CUSTOMERS.map(|customer| envelope(&account(customer, 1, 100)));
    handle(&database.db, &accounts).await.unwrap();
    let mut racing = tokio::task::JoinSet::new();
    for (number, db) in instances.into_iter().enumerate() {
        racing.spawn(async move {
            for round in 0..10 {
                let batch: Vec<_> = CUSTOMERS
                    .iter()
                    .flat_map(|customer| {
                        let order = format!("{customer}-{number}-{round}");
                        [envelope(&placed(&order, customer, 30)), envelope(&reserved(&order))]
                    })
                    .collect();
                // A deadlock or a busy database is retried, as the library does.
                while handle(&db, &batch).await.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
        });
    }
    racing.join_all().await;
    let rows = payments(&database.db).await;
    assert_eq!(rows.len(), 90);
    for customer in CUSTOMERS {
        let capturing = rows
            .iter()
            .filter(|row| row.status == Status::Capturing && row.customer_id.as_deref() == Some(customer))
            .count();
        assert_eq!(capturing, 3, "three times 30 fit into 100, and not one more");
    }
    let expected = CUSTOMERS.map(|customer| (customer.to_owned(), 90));
    assert_eq!(exposures(&database.db).await, expected);
}

async fn concurrent_messages_of_one_order_on_two_instances_are_all_applied(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let other = open(&database.url).await;
    handle(&database.db, &[envelope(&account("ANN", 1, 1_000_000))]).await.unwrap();
    let orders: Vec<String> = (0..50).map(|number| format!("O{number:02}")).collect();
    let of = |make: &dyn Fn(&str) -> PaymentMessage| -> Vec<_> {
        orders.iter().map(|order| vec![envelope(&make(order))]).collect()
    };
    let placing = of(&|order| placed(order, "ANN", 1));
    let reserving = of(&reserved);
    let deliver = async |db: &sea_orm::DatabaseConnection, batches: &[Vec<Envelope<PaymentMessage>>]| {
        for batch in batches {
            handle(db, batch).await.expect("no conflict that a retry would have to repair");
        }
    };
    tokio::join!(deliver(&database.db, &placing), deliver(&other, &reserving));
    let rows = payments(&database.db).await;
    assert_eq!(rows.len(), orders.len());
    assert!(rows.iter().all(|row| row.status == Status::Capturing), "{rows:?}");
    assert_eq!(exposures(&database.db).await, [("ANN".to_owned(), 50)]);
    let tx = database.db.begin().await.unwrap();
    let aggregates = unit_of_work::load_orders(&tx, &[order_id("O00")].into()).await.unwrap();
    assert!(aggregates.accounts.contains_key(&customer_id("ANN")));
}
