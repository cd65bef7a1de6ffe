//! The `blocked_on` of a payment's status.

use std::time::Duration;

use choreography::Handler;
use choreography::envelope::unix_millis;
use payment_service::entity::payment::{ActiveModel, Status};
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, IntoActiveModel};

use crate::database::{Engine, TestDatabase, envelope, handle, handler, payments};
use crate::given::{NOW, account, placed, reserved};

/// Status, age in seconds, alarm, the shown state, and the words of `blocked_on`.
const CASES: [(Status, u64, bool, &str, &[&str]); 9] = [
    (Status::AwaitingAccount, 5, false, "awaiting-account", &["the account of its customer"]),
    (Status::Capturing, 5, false, "capturing", &["the payment provider (3 attempts", "connection refused"]),
    (Status::Capturing, 121, false, "capturing", &["the payment provider, overdue (3 attempts", "refused"]),
    (Status::Voiding, 121, false, "voiding", &["the payment provider, overdue", "refused"]),
    (Status::Refunding, 121, false, "refunding", &["the payment provider, overdue", "refused"]),
    (Status::Refunding, 121, true, "refund-failed", &["an operator (payment-service retry A)", "refused"]),
    (Status::Voiding, 121, true, "voiding", &["an operator (payment-service retry A)", "refused"]),
    (Status::Captured, 121, true, "captured", &["an operator (payment-service dismiss A)", "refused"]),
    (Status::Captured, 121, false, "captured", &[]),
];

#[tokio::test]
async fn a_waiting_payment_has_the_reason_in_its_status() {
    let database = TestDatabase::new(Engine::Sqlite).await;
    let messages = [account("ANN", 1, 100), placed("A", "ANN", 60), reserved("A")];
    handle(&database.db, &messages.iter().map(envelope).collect::<Vec<_>>()).await.unwrap();
    let payment = payments(&database.db).await.remove(0);
    for (status, seconds, alarm, state, words) in CASES {
        let since = unix_millis(NOW - Duration::from_secs(seconds));
        let row = ActiveModel {
            status: Set(status),
            attempts: Set(3),
            updated_at: Set(since),
            alarm_since: Set(alarm.then_some(since)),
            provider_answer: Set(Some("connection refused".to_owned())),
            ..payment.clone().into_active_model()
        };
        row.update(&database.db).await.unwrap();
        let status = handler(|| NOW).status(&database.db, "A").await.unwrap().unwrap();
        assert_eq!(status.state, state);
        let blocked_on = status.blocked_on.unwrap_or_default();
        assert_eq!(blocked_on.is_empty(), words.is_empty(), "{state}: {blocked_on}");
        let is_overdue = words.first().is_some_and(|words| words.contains("overdue"));
        assert_eq!(blocked_on.contains("overdue"), is_overdue, "{state}: {blocked_on}");
        for word in words {
            assert!(blocked_on.contains(word), "{state}: {blocked_on:?} lacks {word:?}");
        }
    }
}
