//! The process dies between the provider's answer and its own commit, again and again. The provider's ledger is the
//! witness.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contracts::account::CardToken;
use local_servers::free_port;
use payment_service::entity::payment::Status;
use payment_service::provider::{Capture, HttpProvider, Known, LedgerPage, Money, PaymentProvider, ProviderError};
use serde_json::json;
use tokio::sync::Notify;

use crate::database::{Engine, exposures, payments};
use crate::fixture::{Fixture, eventually};
use crate::given::{account_with, cancelled, card, placed, reserved};
use crate::on_both_databases;

on_both_databases!(whoever_dies_between_answer_and_commit_charges_nobody_twice);

/// How often the process dies.
const ROUNDS: usize = 60;
/// The orders of a round.
const ORDERS: usize = 3;

/// A provider after whose answers the process dies.
struct Deadly {
    inner: HttpProvider,
    answers: AtomicU64,
    /// After how many answers; the answer itself is never recorded.
    dies_after: u64,
    died: Notify,
}

impl Deadly {
    async fn answered<T>(&self, answer: Result<T, ProviderError>) -> Result<T, ProviderError> {
        if answer.is_ok() && self.answers.fetch_add(1, Ordering::Relaxed) >= self.dies_after {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        answer
    }
}

impl PaymentProvider for Deadly {
    async fn capture(&self, money: &Money, token: &CardToken) -> Result<Capture, ProviderError> {
        self.answered(self.inner.capture(money, token).await).await
    }

    async fn lookup(&self, money: &Money) -> Result<Option<Known>, ProviderError> {
        self.answered(self.inner.lookup(money).await).await
    }

    async fn void(&self, money: &Money) -> Result<Option<String>, ProviderError> {
        self.answered(self.inner.void(money).await).await
    }

    async fn refund(&self, money: &Money, reference: &str) -> Result<(), ProviderError> {
        self.answered(self.inner.refund(money, reference).await).await
    }

    async fn ledger(&self, after: Option<&str>) -> Result<Option<LedgerPage>, ProviderError> {
        self.inner.ledger(after).await
    }
}

fn name(round: usize, number: usize) -> String {
    format!("R{round}-{number}")
}

fn is_cancelled(order: &str) -> bool {
    order.ends_with("-1")
}

async fn whoever_dies_between_answer_and_commit_charges_nobody_twice(engine: Engine) {
    let fixture = Fixture::new(engine).await;
    fixture.publish(&account_with("ANN", 1, Some(card("tok_1", "2999-12")), 100_000)).await;
    let rates = json!({"mode": "random", "seed": 3, "decline": 0.1, "answerThenDrop": 0.1, "fail": 0.1});
    fixture.provider.behave(rates).await;
    let address = format!("127.0.0.1:{}", free_port());
    for round in 0..ROUNDS {
        live_and_die(&fixture, round, &address).await;
    }
    for round in 0..ROUNDS {
        fixture.publish(&cancelled(&name(round, 1))).await;
    }
    fixture.provider.behave(json!({"mode": "ok"})).await;
    let service = fixture.start(&["--http-address", &address]);
    eventually("all are final", || async {
        let rows = payments(&fixture.database.db).await;
        rows.len() == ROUNDS * ORDERS
            && rows.iter().all(|row| match row.status {
                Status::Captured => !is_cancelled(&row.order_id),
                Status::Declined | Status::Cancelled | Status::Refunded => true,
                _ => false,
            })
    })
    .await;
    eventually("the messages of the instances that died are published", || async {
        messaging::outbox_pending::depth(&fixture.database.db).await.unwrap() == 0
    })
    .await;
    service.stop().await;
    fixture.left_nothing_behind().await;
    the_ledger_agrees(&fixture).await;
}

/// Starts the service, gives it something to do, and ends it behind one of the provider's answers.
async fn live_and_die(fixture: &Fixture, round: usize, address: &str) {
    let deadly = Arc::new(Deadly {
        inner: HttpProvider::new(&fixture.provider.url, Duration::from_secs(2)).unwrap(),
        answers: AtomicU64::new(0),
        dies_after: round as u64 % 3,
        died: Notify::new(),
    });
    let service = fixture.start_with(&["--http-address", address], deadly.clone());
    for number in 0..ORDERS {
        fixture.publish(&placed(&name(round, number), "ANN", 10)).await;
        fixture.publish(&reserved(&name(round, number))).await;
        // Some are cancelled at once, some of the round before while they are on their way.
        if number == 1 {
            fixture.publish(&cancelled(&name(round - round % 2, number))).await;
        }
    }
    deadly.died.notified().await;
    service.abort().await;
}

async fn the_ledger_agrees(fixture: &Fixture) {
    let mut booked: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut orders: BTreeMap<String, String> = BTreeMap::new();
    for entry in fixture.provider.entries().await {
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        match entry["kind"].as_str() {
            Some("captured") => {
                let order = text("orderId").unwrap();
                orders.insert(text("reference").unwrap(), order.clone());
                booked.entry(order).or_default().0 += 1;
            }
            Some("refunded") => booked.get_mut(&orders[&text("reference").unwrap()]).unwrap().1 += 1,
            _ => {}
        }
    }
    let rows = payments(&fixture.database.db).await;
    let mut live = 0;
    for row in &rows {
        let (captures, refunds) = booked.get(&row.order_id).copied().unwrap_or_default();
        assert!(captures <= 1 && refunds <= captures, "{}: {captures} and {refunds}", row.order_id);
        assert_eq!(captures - refunds == 1, row.status == Status::Captured, "{row:?}");
        live += captures - refunds;
        let published = async |event| fixture.published(&format!("payment.event.{event}.{}", row.order_id)).await;
        let published = (published("captured").await, published("declined").await, published("refunded").await);
        let as_it_stands = match row.status {
            Status::Captured => published == (1, 0, 0),
            Status::Declined => published == (0, 1, 0),
            // Where the answer was lost, the capture was never known.
            Status::Refunded => published == (1, 0, 1) || published == (0, 0, 1),
            _ => published == (0, 0, 0),
        };
        assert!(as_it_stands, "{published:?} of {row:?}");
    }
    let of = |status| rows.iter().filter(|row| row.status == status).count();
    assert!(live > 60 && of(Status::Refunded) > 5, "too little happened to tell: {live} live");
    assert_eq!(exposures(&fixture.database.db).await, [("ANN".to_owned(), 10 * live)]);
}
