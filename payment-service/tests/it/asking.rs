//! The service and the provider's program: what is said, and what the provider's own ledger says.

use payment_service::entity::payment::Status;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::database::{Engine, exposures};
use crate::given::{account, account_with, cancelled, card, placed, reserved};
use crate::on_both_databases;
use crate::store::{Store, body, eventually, header};

on_both_databases!(
    a_payment_is_taken_once_the_stock_is_reserved_and_given_back_when_the_order_is_cancelled,
    a_provider_that_declines_is_taken_at_its_word,
    a_provider_that_fails_loses_requests_or_answers_is_asked_again_and_takes_once,
    a_payment_in_doubt_for_too_long_is_voided,
    a_payment_whose_account_is_not_known_waits_for_it_and_not_for_ever,
    what_a_clock_ahead_has_put_off_is_done_all_the_same,
    two_instances_take_each_payment_once,
);

async fn a_payment_is_taken_once_the_stock_is_reserved_and_given_back_when_the_order_is_cancelled(engine: Engine) {
    let store = Store::new(engine).await;
    let service = store.start(&[]);
    store.say(&account("ANN", 1, 100)).await;
    let order = store.say(&placed("A", "ANN", 60)).await;
    let reserving = store.say(&reserved("A")).await;
    let captured = store.heard("payment.event.captured.A").await;
    assert_eq!(header(&captured, "ce-type"), "payment.captured.v1");
    assert_eq!(header(&captured, "ce-source"), "/payment-service");
    assert_eq!(header(&captured, "ce-causationid"), reserving.to_string());
    assert_eq!(header(&captured, "ce-correlationid"), order.to_string());
    let expected = json!({
        "orderId": "A", "customerId": "ANN", "amount": 60, "currency": "EUR", "reference": "cap_00000001"
    });
    assert_eq!(body(&captured), expected);

    let answer = store.client.request("payment.query.get.A", "".into()).await.unwrap();
    let mut view: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(view.as_object_mut().unwrap().remove("updatedAt").is_some());
    let expected = json!({
        "orderId": "A", "customerId": "ANN", "status": "captured", "amount": 60, "currency": "EUR",
        "reason": null, "reference": "cap_00000001"
    });
    assert_eq!(view, expected);
    let answer = store.client.request("payment.query.get.B", "".into()).await.unwrap();
    assert_eq!(answer.headers.unwrap().get("Nats-Service-Error-Code").unwrap().as_str(), "404");

    let cancelling = store.say(&cancelled("A")).await;
    let refunded = store.heard("payment.event.refunded.A").await;
    assert_eq!(header(&refunded, "ce-causationid"), cancelling.to_string());
    assert_eq!(header(&refunded, "ce-correlationid"), order.to_string());
    let version = |message| header(message, "ce-aggregateversion").parse::<i64>().unwrap();
    assert!(version(&captured) < version(&refunded));
    assert_eq!(body(&refunded), json!({"orderId": "A", "customerId": "ANN", "amount": 60, "currency": "EUR"}));
    assert_eq!((store.provider.count("captured").await, store.provider.count("refunded").await), (1, 1));
    assert_eq!(exposures(&store.database.db).await, [("ANN".to_owned(), 0)]);
    service.stop().await;
    store.left_nothing_behind().await;
}

async fn a_provider_that_declines_is_taken_at_its_word(engine: Engine) {
    let store = Store::new(engine).await;
    let service = store.start(&[]);
    store.say(&account_with("ANN", 1, Some(card("tok_decline", "2999-12")), 100)).await;
    store.say(&placed("A", "ANN", 60)).await;
    store.say(&reserved("A")).await;
    let declined = store.heard("payment.event.declined.A").await;
    assert_eq!(body(&declined), json!({"orderId": "A", "customerId": "ANN", "reason": "provider-declined"}));
    store.say(&cancelled("A")).await;
    store.say(&placed("B", "ANN", 101)).await;
    store.say(&reserved("B")).await;
    let declined = store.heard("payment.event.declined.B").await;
    assert_eq!(body(&declined)["reason"], "limit-exceeded");
    assert_eq!((store.provider.count("captured").await, store.provider.count("declined").await), (0, 1));
    service.stop().await;
    store.left_nothing_behind().await;
}

async fn a_provider_that_fails_loses_requests_or_answers_is_asked_again_and_takes_once(engine: Engine) {
    let store = Store::new(engine).await;
    let service = store.start(&["--provider-timeout-milliseconds", "300"]);
    store.say(&account_with("ANN", 1, Some(card("tok_1", "2999-12")), 1000)).await;
    let behaviours = [
        json!({"mode": "fail"}),
        json!({"mode": "drop-before"}),
        json!({"mode": "answer-then-drop"}),
        json!({"mode": "slow", "ms": 600}),
    ];
    for (index, behaviour) in behaviours.into_iter().enumerate() {
        let order = format!("O{index}");
        store.provider.behave(behaviour.clone()).await;
        store.say(&placed(&order, "ANN", 60)).await;
        store.say(&reserved(&order)).await;
        eventually("it was asked twice", || async {
            store.payment(&order).await.is_some_and(|row| row.attempts >= 2)
        })
        .await;
        assert_eq!(store.payment(&order).await.unwrap().status, Status::Capturing, "{behaviour}");
        store.provider.behave(json!({"mode": "ok"})).await;
        store.stands(&order, Status::Captured).await;
        assert_eq!(store.provider.count("captured").await, index as u64 + 1);
    }
    store.provider.behave(json!({"mode": "answer-then-drop", "on": ["refund"]})).await;
    store.say(&cancelled("O0")).await;
    eventually("it was asked twice", || async {
        store.payment("O0").await.is_some_and(|row| row.status == Status::Refunding && row.attempts >= 4)
    })
    .await;
    store.provider.behave(json!({"mode": "ok"})).await;
    store.stands("O0", Status::Refunded).await;
    assert_eq!(store.provider.count("refunded").await, 1);
    assert_eq!(exposures(&store.database.db).await, [("ANN".to_owned(), 180)]);
    service.stop().await;
    assert_eq!(store.said("payment.event.>").await, 5);
    store.left_nothing_behind().await;
}

async fn a_payment_in_doubt_for_too_long_is_voided(engine: Engine) {
    let store = Store::new(engine).await;
    let service = store.start(&["--provider-deadline-seconds", "1"]);
    store.say(&account_with("ANN", 1, Some(card("tok_1", "2999-12")), 1000)).await;
    store.provider.behave(json!({"mode": "drop-before", "on": ["capture"]})).await;
    store.say(&placed("UNKNOWN", "ANN", 60)).await;
    store.say(&reserved("UNKNOWN")).await;
    let declined = store.heard("payment.event.declined.UNKNOWN").await;
    assert_eq!(body(&declined)["reason"], "provider-unavailable");
    assert_eq!((store.provider.count("captured").await, store.provider.count("voided").await), (0, 1));
    assert_eq!(exposures(&store.database.db).await, [("ANN".to_owned(), 0)]);

    store.provider.behave(json!({"mode": "answer-then-drop", "on": ["capture"]})).await;
    store.say(&placed("BOOKED", "ANN", 60)).await;
    store.say(&reserved("BOOKED")).await;
    let captured = store.heard("payment.event.captured.BOOKED").await;
    assert_eq!(body(&captured)["reference"], "cap_00000002");
    assert_eq!((store.provider.count("captured").await, store.provider.count("refunded").await), (1, 0));
    service.stop().await;
    store.left_nothing_behind().await;
}

async fn a_payment_whose_account_is_not_known_waits_for_it_and_not_for_ever(engine: Engine) {
    let store = Store::new(engine).await;
    let service = store.start(&["--account-wait-seconds", "3"]);
    for order in ["A", "B"] {
        store.say(&placed(order, if order == "A" { "ANN" } else { "BOB" }, 60)).await;
        store.say(&reserved(order)).await;
        store.stands(order, Status::AwaitingAccount).await;
    }
    store.say(&account_with("ANN", 1, Some(card("tok_1", "2999-12")), 100)).await;
    store.stands("A", Status::Captured).await;
    let declined = store.heard("payment.event.declined.B").await;
    assert_eq!(body(&declined), json!({"orderId": "B", "customerId": "BOB", "reason": "no-account"}));
    store.say(&account("BOB", 1, 100)).await;
    service.stop().await;
    assert_eq!(store.said("payment.event.>").await, 2);
    store.left_nothing_behind().await;
}

async fn what_a_clock_ahead_has_put_off_is_done_all_the_same(engine: Engine) {
    let store = Store::new(engine).await;
    let options = ["--provider-deadline-seconds", "2", "--account-wait-seconds", "2"];
    let service = store.start(&options);
    store.say(&account_with("ANN", 1, Some(card("tok_1", "2999-12")), 1000)).await;
    store.provider.behave(json!({"mode": "fail"})).await;
    for (order, customer, status) in [("A", "ANN", Status::Capturing), ("B", "BOB", Status::AwaitingAccount)] {
        store.say(&placed(order, customer, 60)).await;
        store.say(&reserved(order)).await;
        store.stands(order, status).await;
    }
    service.stop().await;
    // As if all of it had been written an hour later.
    let later = "UPDATE payment SET due_since = due_since + 3600000, next_attempt_at = next_attempt_at + 3600000, due_at = due_at + 3600000";
    store.database.db.execute_unprepared(later).await.unwrap();
    let service = store.start(&options);
    store.heard("payment.event.declined.B").await;
    store.provider.behave(json!({"mode": "fail", "on": ["capture"]})).await;
    store.heard("payment.event.declined.A").await;
    // And while it runs, a clock that is put back.
    store.provider.behave(json!({"mode": "drop-before"})).await;
    store.say(&placed("C", "ANN", 60)).await;
    store.say(&reserved("C")).await;
    store.stands("C", Status::Capturing).await;
    store.database.db.execute_unprepared(later).await.unwrap();
    store.provider.behave(json!({"mode": "ok"})).await;
    store.heard("payment.event.captured.C").await;
    service.stop().await;
    store.left_nothing_behind().await;
}

async fn two_instances_take_each_payment_once(engine: Engine) {
    let store = Store::new(engine).await;
    let services = [store.start(&[]), store.start(&[])];
    let rates = json!({"mode": "random", "seed": 1, "fail": 0.1, "answerThenDrop": 0.2, "dropBefore": 0.1, "slow": 0.1, "ms": 50});
    store.provider.behave(rates).await;
    for number in 0..40 {
        let customer = ["ANN", "BOB"][number % 2];
        if number < 2 {
            store.say(&account_with(customer, 1, Some(card("tok_1", "2999-12")), 150)).await;
        }
        store.say(&placed(&format!("O{number}"), customer, 10)).await;
        store.say(&reserved(&format!("O{number}"))).await;
    }
    eventually("all are final", || async { store.said("payment.event.>").await == 40 }).await;
    assert_eq!(store.said("payment.event.captured.>").await, 30);
    assert_eq!(store.provider.count("captured").await, 30);
    assert_eq!(exposures(&store.database.db).await, [("ANN".to_owned(), 150), ("BOB".to_owned(), 150)]);
    for service in services {
        service.stop().await;
    }
    store.left_nothing_behind().await;
}
