//! A provider that refuses, that has other content under a key, or whose ledger differs.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use contracts::account::CardToken;
use contracts::query::{LedgerCheck, LedgerDifferenceKind as Kind, PaymentStatus};
use payment_service::admin::{self, Decision};
use payment_service::entity::payment::Status;
use payment_service::provider::{
    Capture, HttpProvider, Known, LedgerCharge, LedgerPage, Money, PaymentProvider, ProviderError,
};
use payment_service::reconciliation::{Overdue, reconciliation};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::database::{Engine, TestDatabase, exposures};
use crate::fixture::{Fixture, body, eventually};
use crate::given::{account_with, cancelled, card, order_id};
use crate::on_both_databases;

on_both_databases!(
    other_content_under_a_key_is_never_captured_and_raises_an_alarm,
    a_refusal_declines_a_payment_and_a_retry_after_is_respected,
    a_refused_refund_raises_an_alarm_and_an_operator_can_repeat_it,
    an_instance_that_starts_keeps_the_leases_and_back_offs_of_other_instances,
    every_difference_between_ledger_and_payments_is_reported,
    wrong_exposures_are_counted_beyond_those_that_are_listed,
);

async fn fixture(engine: Engine) -> Fixture {
    let fixture = Fixture::new(engine).await;
    fixture.publish(&account_with("ANN", 1, Some(card("tok_1", "2999-12")), 100_000)).await;
    fixture
}

/// Turns a payment into one of an earlier release, whose key is the order's id.
async fn as_before_the_upgrade(fixture: &Fixture, order: &str) {
    let legacy = "UPDATE payments SET provider_key = NULL, lease_owner = NULL, next_attempt_at = 1, due_at = NULL";
    fixture.sql(&format!("{legacy} WHERE order_id = '{order}'")).await;
}

async fn other_content_under_a_key_is_never_captured_and_raises_an_alarm(engine: Engine) {
    let fixture = fixture(engine).await;
    let other = json!({"orderId": "DUP", "token": "tok_x", "amount": 1, "currency": "EUR"});
    fixture.provider.capture("DUP", &other).await;
    let service = fixture.start(&["--shop-id", "here"]);
    fixture.due("DUP", 1000).await;
    fixture.received("payment.event.captured.DUP").await;
    let key = fixture.payment("DUP").await.unwrap().provider_key.unwrap();
    assert!(key.starts_with("DUP:here:"), "{key}");
    assert!(fixture.provider.entries().await.iter().any(|entry| entry["key"] == *key && entry["amount"] == 1000));

    // Attempts before the upgrade keep their keys, and one of these belongs to another payment.
    fixture.provider.behave(json!({"mode": "fail"})).await;
    fixture.fail_attempts(&["OLD", "TAKEN"]).await;
    service.stop().await;
    for order in ["OLD", "TAKEN"] {
        as_before_the_upgrade(&fixture, order).await;
    }
    fixture.provider.behave(json!({"mode": "ok"})).await;
    fixture
        .provider
        .capture("TAKEN", &json!({"orderId": "TAKEN", "token": "tok_x", "amount": 1, "currency": "EUR"}))
        .await;
    let service = fixture.start(&["--shop-id", "here"]);
    fixture.received("payment.event.captured.OLD").await;
    assert!(fixture.provider.entries().await.iter().any(|entry| entry["key"] == "OLD" && entry["amount"] == 60));
    let declined = fixture.received("payment.event.declined.TAKEN").await;
    assert_eq!(body(&declined)["reason"], "provider-declined");
    let row = fixture.payment("TAKEN").await.unwrap();
    assert!(row.alarm_since.is_some() && row.provider_answer.clone().unwrap().contains("has 1 EUR"), "{row:?}");
    assert_eq!(fixture.provider.count("refunded").await, 0, "the capture of the other payment stays");
    let reconciliation = fixture.reconciliation().await;
    assert_eq!((reconciliation.alarms, &reconciliation.issues[0].order_id), (1, &order_id("TAKEN")));
    assert_eq!(exposures(&fixture.database.db).await, [("ANN".to_owned(), 1060)]);
    let now = OffsetDateTime::now_utc();
    let db = &fixture.database.db;
    assert_eq!(admin::apply(db, Decision::Retry, &[order_id("TAKEN")], now).await.unwrap(), 0);
    assert_eq!(admin::apply(db, Decision::Dismiss, &[order_id("TAKEN")], now).await.unwrap(), 1);
    assert_eq!(fixture.reconciliation().await.alarms, 0);
    service.stop().await;
    fixture.is_drained().await;
}

async fn a_refusal_declines_a_payment_and_a_retry_after_is_respected(engine: Engine) {
    let fixture = fixture(engine).await;
    let service = fixture.start(&[]);
    for status in [400, 410, 422] {
        fixture.provider.behave(json!({"mode": "refuse", "status": status, "on": ["capture"]})).await;
        let order = format!("R{status}");
        fixture.due(&order, 60).await;
        let declined = fixture.received(&format!("payment.event.declined.{order}")).await;
        assert_eq!(body(&declined)["reason"], "provider-declined");
        let row = fixture.payment(&order).await.unwrap();
        assert!(row.provider_answer.clone().unwrap().contains(&status.to_string()), "{row:?}");
        assert_eq!((row.attempts, row.alarm_since), (1, None));
    }
    for status in [401, 403, 408, 409, 425, 429] {
        let behaviour = json!({"mode": "refuse", "status": status, "retryAfter": 30, "on": ["capture"]});
        fixture.provider.behave(behaviour).await;
        let order = format!("B{status}");
        fixture.due(&order, 60).await;
        eventually("the provider refused", || async {
            fixture.payment(&order).await.is_some_and(|row| row.provider_answer.is_some())
        })
        .await;
        let row = fixture.payment(&order).await.unwrap();
        assert_eq!((row.status, row.attempts), (Status::Capturing, 1));
        assert!(row.due().unwrap() > row.updated_at + 29_000, "{row:?}");
    }
    assert_eq!(exposures(&fixture.database.db).await, [("ANN".to_owned(), 360)]);
    service.stop().await;
}

async fn wrong_exposures_are_counted_beyond_those_that_are_listed(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let rows: Vec<String> = (10..43).map(|n| format!("('C{n}', 'EUR', 100)")).collect();
    let insert = format!("INSERT INTO exposures (customer_id, currency, amount) VALUES {}", rows.join(", "));
    database.db.execute_unprepared(&insert).await.unwrap();
    let overdue = Overdue(Duration::from_secs(120));
    let found = reconciliation(database.db.clone(), overdue, LedgerCheck::default()).await.unwrap();
    assert_eq!((found.accounts, found.wrong_total, found.wrong.len()), (33, 33, 20));
}

async fn a_refused_refund_raises_an_alarm_and_an_operator_can_repeat_it(engine: Engine) {
    let fixture = fixture(engine).await;
    let service = fixture.start(&["--retry-limit-seconds", "1", "--overdue-seconds", "1"]);
    for (order, behaviour) in [
        ("REFUSED", json!({"mode": "refuse", "status": 404, "on": ["refund"]})),
        ("FAILED", json!({"mode": "fail", "on": ["refund"]})),
    ] {
        fixture.provider.behave(behaviour).await;
        fixture.due(order, 60).await;
        fixture.reaches(order, Status::Captured).await;
        fixture.publish(&cancelled(order)).await;
        eventually("it needs an operator", || async {
            fixture.payment(order).await.is_some_and(|row| row.alarm_since.is_some() && row.due().is_none())
        })
        .await;
        let issues = fixture.reconciliation().await.issues;
        let issue = issues.iter().find(|issue| issue.order_id == order_id(order)).unwrap();
        assert_eq!((issue.status, issue.alarm), (PaymentStatus::RefundFailed, true), "{issue:?}");
        let reply = fixture.client.request(format!("payment.query.get.{order}"), "".into()).await.unwrap();
        let view: Value = serde_json::from_slice(&reply.payload).unwrap();
        assert_eq!(view["status"], "refund-failed");
    }
    assert_eq!(
        exposures(&fixture.database.db).await,
        [("ANN".to_owned(), 120)],
        "payments that are not refunded count"
    );
    fixture.provider.behave(json!({"mode": "ok"})).await;
    let orders = [order_id("REFUSED"), order_id("FAILED")];
    admin::run(&fixture.config(&[]), Decision::Retry, &orders).await.unwrap();
    for order in ["REFUSED", "FAILED"] {
        fixture.reaches(order, Status::Refunded).await;
    }
    assert_eq!(fixture.reconciliation().await.alarms, 0);
    assert_eq!(exposures(&fixture.database.db).await, [("ANN".to_owned(), 0)]);
    service.stop().await;
    fixture.is_drained().await;
}

async fn an_instance_that_starts_keeps_the_leases_and_back_offs_of_other_instances(engine: Engine) {
    let fixture = fixture(engine).await;
    let address = format!("127.0.0.1:{}", choreography_test::free_port());
    let options = ["--http-address", &address];
    let service = fixture.start(&options);
    fixture.provider.behave(json!({"mode": "fail"})).await;
    fixture.fail_attempts(&["OTHER", "WAITS", "OWN"]).await;
    service.stop().await;
    fixture.provider.behave(json!({"mode": "ok"})).await;
    let later = (OffsetDateTime::now_utc() + Duration::from_secs(40)).unix_timestamp() * 1000;
    fixture.sql(&format!("UPDATE payments SET due_at = {later}, lease_owner = NULL")).await;
    fixture.sql("UPDATE payments SET lease_owner = 'another/127.0.0.1:1' WHERE order_id = 'OTHER'").await;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let own = format!("UPDATE payments SET lease_owner = '{}/{address}' WHERE order_id = 'OWN'", host.trim());
    fixture.sql(&own).await;
    let service = fixture.start(&options);
    fixture.reaches("OWN", Status::Captured).await;
    for order in ["OTHER", "WAITS"] {
        let row = fixture.payment(order).await.unwrap();
        assert_eq!((row.status, row.due_at), (Status::Capturing, Some(later)), "{row:?}");
    }
    service.stop().await;
}

type Change = fn(&mut Vec<LedgerCharge>);

/// A provider whose ledger a test changes; `None` if it offers no ledger.
struct ChangedLedger {
    inner: HttpProvider,
    change: Mutex<Option<Change>>,
}

impl PaymentProvider for ChangedLedger {
    async fn capture(&self, money: &Money, token: &CardToken) -> Result<Capture, ProviderError> {
        self.inner.capture(money, token).await
    }

    async fn lookup(&self, money: &Money) -> Result<Option<Known>, ProviderError> {
        self.inner.lookup(money).await
    }

    async fn void(&self, money: &Money) -> Result<Option<String>, ProviderError> {
        self.inner.void(money).await
    }

    async fn refund(&self, money: &Money, reference: &str) -> Result<(), ProviderError> {
        self.inner.refund(money, reference).await
    }

    async fn ledger(&self, after: Option<&str>) -> Result<Option<LedgerPage>, ProviderError> {
        let page = self.inner.ledger(after).await?;
        let change = *self.change.lock().unwrap();
        Ok(page.zip(change).map(|(mut page, change)| {
            change(&mut page.charges);
            page
        }))
    }
}

async fn every_difference_between_ledger_and_payments_is_reported(engine: Engine) {
    let fixture = fixture(engine).await;
    let inner = HttpProvider::new(&fixture.provider.url, Duration::from_secs(5)).unwrap();
    let provider = Arc::new(ChangedLedger { inner, change: Mutex::new(Some(|_| {})) });
    let service = fixture.start_with(&["--shop-id", "here"], provider.clone());
    for order in ["A", "B", "C"] {
        fixture.due(order, 60).await;
        fixture.reaches(order, Status::Captured).await;
    }
    fixture.publish(&cancelled("B")).await;
    fixture.reaches("B", Status::Refunded).await;
    let found = async || fixture.reconciliation().await.ledger.unwrap();
    eventually("the ledger agrees", async || {
        let ledger = found().await;
        ledger.checked_at.is_some() && (ledger.charges, ledger.total) == (3, 0)
    })
    .await;
    let changes: [(Change, &str, Kind); 6] = [
        (|charges| charges[0].amount = 1, "A", Kind::Content),
        (|charges| drop(charges.remove(2)), "C", Kind::Missing),
        (
            |charges| {
                charges.push(LedgerCharge {
                    order_id: "Z".to_owned(),
                    key: "Z:here:1".to_owned(),
                    ..charges[0].clone()
                })
            },
            "Z",
            Kind::Extra,
        ),
        (
            |charges| charges.insert(1, LedgerCharge { key: "A:here:2".to_owned(), ..charges[0].clone() }),
            "A",
            Kind::Doubled,
        ),
        (|charges| charges[0].refunded = true, "A", Kind::Refund),
        (|charges| charges[1].refunded = false, "B", Kind::Refund),
    ];
    for (change, order, kind) in changes {
        *provider.change.lock().unwrap() = Some(change);
        eventually(&format!("{order} differs: {kind:?}"), async || {
            let ledger = found().await;
            ledger.total == 1 && ledger.differences[0].kind == kind && ledger.differences[0].order_id == order
        })
        .await;
        *provider.change.lock().unwrap() = Some(|_| {});
        eventually("the ledger agrees again", async || found().await.total == 0).await;
    }
    // A charge of another shop is ignored.
    *provider.change.lock().unwrap() = Some(|charges| {
        charges.push(LedgerCharge { key: "Z:there:1".to_owned(), order_id: "Z".to_owned(), ..charges[0].clone() })
    });
    let before = found().await.checked_at;
    eventually("it is compared again", async || found().await.checked_at > before).await;
    assert_eq!(found().await.total, 0);
    *provider.change.lock().unwrap() = None;
    eventually("there is no ledger", async || found().await.unavailable.is_some()).await;
    service.stop().await;
}
