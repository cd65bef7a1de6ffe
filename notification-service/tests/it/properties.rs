//! Invariants for every order and repetition of messages.

use std::collections::BTreeMap;

use contracts::Currency;
use contracts::declaration::NotificationMessage;
use contracts::order::CancelReason;
use notification_service::entity::{customer, notification};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sea_orm::EntityTrait;
use tokio::runtime::Builder;

use crate::database::{Engine, Mail, TestDatabase, all, envelope, handle_again, mail};
use crate::given::{awaiting, cancelled, changed, confirmed, deleted, refunded};

/// Few enough that events of the same customer are frequent.
const CUSTOMERS: usize = 3;

fn name(index: usize) -> String {
    format!("C{index}")
}

/// Histories with each event once: accounts with increasing versions, and orders.
fn histories() -> impl Strategy<Value = Vec<NotificationMessage>> {
    let step = (0..CUSTOMERS, prop_oneof![3 => Just(0), 1 => Just(1), 4 => 2..6_usize]);
    vec(step, 1..40).prop_map(|steps| {
        let mut versions = [0; CUSTOMERS];
        let events = steps.into_iter().enumerate().map(|(index, (customer, kind))| {
            let (id, order) = (name(customer), format!("O{index}"));
            let notify = NotificationMessage::Notify;
            match kind {
                0 | 1 => {
                    versions[customer] += 1;
                    let version = versions[customer];
                    let email = format!("v{version}@example.org");
                    if kind == 0 { changed(&id, version, "Ada", &email) } else { deleted(&id, version) }
                }
                2 => notify(awaiting(&order, &id, &["CUP"])),
                3 => notify(confirmed(&order, &id, 1, Currency::EUR)),
                4 => notify(cancelled(&order, &id, CancelReason::StockDeadline)),
                _ => notify(refunded(&order, &id, 1, Currency::EUR)),
            }
        });
        events.collect()
    })
}

/// The last account event of each customer.
fn last_accounts(history: &[NotificationMessage]) -> BTreeMap<String, (i64, Option<String>)> {
    let mut last = BTreeMap::new();
    for message in history {
        if let NotificationMessage::Account(account) = message {
            use contracts::declaration::AccountMessage::{Changed, Deleted};
            let (id, latest) = match account {
                Changed(event) => {
                    let email = event.details.contact.email.as_str().to_owned();
                    (&event.customer_id, (event.version, Some(email)))
                }
                Deleted(event) => (&event.customer_id, (event.version, None)),
            };
            last.insert(id.to_string(), latest);
        }
    }
    last
}

/// Delivers a history in any order, with repetitions, in batches of any size, without an inbox.
async fn deliver(
    database: &TestDatabase,
    history: &[NotificationMessage],
    order: &[Index],
    size: usize,
) -> Result<(), TestCaseError> {
    notification::Entity::delete_many().exec(&database.db).await.unwrap();
    customer::Entity::delete_many().exec(&database.db).await.unwrap();
    let events: Vec<_> = history.iter().cloned().map(envelope).collect();
    let mut deliveries: Vec<_> = order.iter().map(|index| index.get(&events).clone()).collect();
    deliveries.extend(events.iter().rev().cloned());
    for batch in deliveries.chunks(size) {
        handle_again(&database.db, batch).await.unwrap();
    }

    let rows = all(&database.db).await;
    prop_assert!(rows.is_sorted_by_key(|row| row.sequence));
    let mut notified: Vec<_> = rows.iter().map(|row| row.event_id).collect();
    notified.sort_unstable();
    let mut expected: Vec<_> = events
        .iter()
        .filter(|event| matches!(event.payload, NotificationMessage::Notify(_)))
        .map(|event| event.id)
        .collect();
    expected.sort_unstable();
    prop_assert_eq!(notified, expected, "each event once");

    let accounts = last_accounts(history);
    let known = customer::Entity::find().all(&database.db).await.unwrap();
    let known: BTreeMap<_, _> = known.into_iter().map(|row| (row.customer_id, (row.version, row.email))).collect();
    prop_assert_eq!(&known, &accounts, "the newest version of each");
    for row in &rows {
        match accounts.get(&row.customer_id) {
            None => prop_assert_eq!(mail(row), Mail::Waits),
            // The mail may have been abandoned at a deletion of an account that was created again later.
            Some((_, Some(_))) => prop_assert!(matches!(mail(row), Mail::Due | Mail::Failed)),
            Some((_, None)) => prop_assert_eq!(mail(row), Mail::Failed),
        }
    }
    Ok(())
}

fn any_order_on(engine: Engine, cases: u32) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let database = runtime.block_on(TestDatabase::new(engine));
    let strategy = (histories(), vec(any::<Index>(), 0..60), 1..20_usize);
    let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
    TestRunner::new(config)
        .run(&strategy, |(history, order, size)| runtime.block_on(deliver(&database, &history, &order, size)))
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn any_order_and_repetition_notifies_of_each_event_once_and_keeps_the_newest_accounts_on_sqlite() {
    any_order_on(Engine::Sqlite, 60);
}

#[test]
fn any_order_and_repetition_notifies_of_each_event_once_and_keeps_the_newest_accounts_on_postgres() {
    any_order_on(Engine::Postgres, 30);
}
