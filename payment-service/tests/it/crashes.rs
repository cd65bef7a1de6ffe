//! The process crashes repeatedly between the provider's response and its own commit. The provider's ledger shows
//! whether it charged twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use choreography_test::free_port;
use contracts::account::CardToken;
use payment_service::entity::payment::Status;
use payment_service::provider::{Capture, HttpProvider, Known, LedgerPage, Money, PaymentProvider, ProviderError};
use serde_json::json;
use tokio::sync::Notify;

use crate::database::{Engine, exposures, payments};
use crate::fixture::{Fixture, eventually};
use crate::given::{account_with, cancelled, card, placed, reserved};
use crate::on_both_databases;

on_both_databases!(crashes_between_response_and_commit_never_charge_twice);

/// The number of crashes.
const ROUNDS: usize = 60;
/// The number of orders per round.
const ORDERS: usize = 3;

/// A provider whose response crashes the process.
struct CrashingProvider {
    inner: HttpProvider,
    responses: AtomicU64,
    /// The number of responses before the crash; the last response is never recorded.
    crashes_after: u64,
    crashed: Notify,
}

impl CrashingProvider {
    async fn respond<T>(&self, response: Result<T, ProviderError>) -> Result<T, ProviderError> {
        if response.is_ok() && self.responses.fetch_add(1, Ordering::Relaxed) >= self.crashes_after {
            self.crashed.notify_one();
            std::future::pending::<()>().await;
        }
        response
    }
}

impl PaymentProvider for CrashingProvider {
    async fn capture(&self, money: &Money, token: &CardToken) -> Result<Capture, ProviderError> {
        self.respond(self.inner.capture(money, token).await).await
    }

    async fn lookup(&self, money: &Money) -> Result<Option<Known>, ProviderError> {
        self.respond(self.inner.lookup(money).await).await
    }

    async fn void(&self, money: &Money) -> Result<Option<String>, ProviderError> {
        self.respond(self.inner.void(money).await).await
    }

    async fn refund(&self, money: &Money, reference: &str) -> Result<(), ProviderError> {
        self.respond(self.inner.refund(money, reference).await).await
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

async fn crashes_between_response_and_commit_never_charge_twice(engine: Engine) {
    let fixture = Fixture::new(engine).await;
    fixture.publish(&account_with("ANN", 1, Some(card("tok_1", "2999-12")), 100_000)).await;
    let rates = json!({"mode": "random", "seed": 3, "decline": 0.1, "answerThenDrop": 0.1, "fail": 0.1});
    fixture.provider.behave(rates).await;
    let address = format!("127.0.0.1:{}", free_port());
    for round in 0..ROUNDS {
        run_and_crash(&fixture, round, &address).await;
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
    eventually("the messages of the crashed instances are published", || async {
        choreography::outbox_pending::depth(&fixture.database.db).await.unwrap() == 0
    })
    .await;
    service.stop().await;
    fixture.is_drained().await;
    check_ledger(&fixture).await;
}

/// Starts the service, makes payments due, and aborts it after one of the provider's responses.
async fn run_and_crash(fixture: &Fixture, round: usize, address: &str) {
    let provider = Arc::new(CrashingProvider {
        inner: HttpProvider::new(&fixture.provider.url, Duration::from_secs(2)).unwrap(),
        responses: AtomicU64::new(0),
        crashes_after: round as u64 % 3,
        crashed: Notify::new(),
    });
    let service = fixture.start_with(&["--http-address", address], provider.clone());
    for number in 0..ORDERS {
        fixture.publish(&placed(&name(round, number), "ANN", 10)).await;
        fixture.publish(&reserved(&name(round, number))).await;
        // Some orders are cancelled at once, some of the previous round while their payments are in progress.
        if number == 1 {
            fixture.publish(&cancelled(&name(round - round % 2, number))).await;
        }
    }
    provider.crashed.notified().await;
    service.abort().await;
}

async fn check_ledger(fixture: &Fixture) {
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
        let as_expected = match row.status {
            Status::Captured => published == (1, 0, 0),
            Status::Declined => published == (0, 1, 0),
            // If the response was lost, the capture was never recorded.
            Status::Refunded => published == (1, 0, 1) || published == (0, 0, 1),
            _ => published == (0, 0, 0),
        };
        assert!(as_expected, "{published:?} of {row:?}");
    }
    let of = |status| rows.iter().filter(|row| row.status == status).count();
    assert!(live > 60 && of(Status::Refunded) > 5, "too few payments for a result: {live} live");
    assert_eq!(exposures(&fixture.database.db).await, [("ANN".to_owned(), 10 * live)]);
}
