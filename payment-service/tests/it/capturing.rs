//! The service with the provider's program: the published events, and the provider's own ledger.

use payment_service::entity::payment::Status;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::database::{Engine, exposures};
use crate::fixture::{Fixture, body, eventually, header};
use crate::given::{account, account_with, cancelled, card, placed, reserved};
use crate::on_both_databases;

on_both_databases!(
    a_payment_is_captured_when_the_stock_is_reserved_and_refunded_when_the_order_is_cancelled,
    a_decline_of_the_provider_is_final,
    a_call_that_fails_or_is_lost_or_whose_response_is_lost_is_repeated_and_captures_once,
    a_capture_whose_outcome_is_unknown_for_too_long_is_voided,
    a_payment_without_an_account_is_declined_after_a_time_limit,
    due_times_written_by_a_clock_that_was_ahead_do_not_delay_a_payment,
    two_instances_capture_each_payment_once,
);

async fn a_payment_is_captured_when_the_stock_is_reserved_and_refunded_when_the_order_is_cancelled(engine: Engine) {
    let fixture = Fixture::new(engine).await;
    let service = fixture.start(&[]);
    fixture.publish(&account("ANN", 1, 100)).await;
    let order = fixture.publish(&placed("A", "ANN", 60)).await;
    let reserving = fixture.publish(&reserved("A")).await;
    let captured = fixture.received("payment.event.captured.A").await;
    assert_eq!(header(&captured, "ce-type"), "payment.captured.v1");
    assert_eq!(header(&captured, "ce-source"), "/payment-service");
    assert_eq!(header(&captured, "ce-causationid"), reserving.to_string());
    assert_eq!(header(&captured, "ce-correlationid"), order.to_string());
    let expected = json!({
        "orderId": "A", "customerId": "ANN", "amount": 60, "currency": "EUR", "reference": "cap_00000001"
    });
    assert_eq!(body(&captured), expected);

    let reply = fixture.client.request("payment.query.get.A", "".into()).await.unwrap();
    let mut view: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert!(view.as_object_mut().unwrap().remove("updatedAt").is_some());
    let expected = json!({
        "orderId": "A", "customerId": "ANN", "status": "captured", "amount": 60, "currency": "EUR",
        "reason": null, "reference": "cap_00000001"
    });
    assert_eq!(view, expected);
    let reply = fixture.client.request("payment.query.get.B", "".into()).await.unwrap();
    assert_eq!(reply.headers.unwrap().get("Nats-Service-Error-Code").unwrap().as_str(), "404");

    let cancelling = fixture.publish(&cancelled("A")).await;
    let refunded = fixture.received("payment.event.refunded.A").await;
    assert_eq!(header(&refunded, "ce-causationid"), cancelling.to_string());
    assert_eq!(header(&refunded, "ce-correlationid"), order.to_string());
    let version = |message| header(message, "ce-aggregateversion").parse::<i64>().unwrap();
    assert!(version(&captured) < version(&refunded));
    assert_eq!(body(&refunded), json!({"orderId": "A", "customerId": "ANN", "amount": 60, "currency": "EUR"}));
    assert_eq!((fixture.provider.count("captured").await, fixture.provider.count("refunded").await), (1, 1));
    assert_eq!(exposures(&fixture.database.db).await, [("ANN".to_owned(), 0)]);
    service.stop().await;
    fixture.is_drained().await;
}

async fn a_decline_of_the_provider_is_final(engine: Engine) {
    let fixture = Fixture::new(engine).await;
    let service = fixture.start(&[]);
    fixture.publish(&account_with("ANN", 1, Some(card("tok_decline", "2999-12")), 100)).await;
    fixture.publish(&placed("A", "ANN", 60)).await;
    fixture.publish(&reserved("A")).await;
    let declined = fixture.received("payment.event.declined.A").await;
    assert_eq!(body(&declined), json!({"orderId": "A", "customerId": "ANN", "reason": "provider-declined"}));
    fixture.publish(&cancelled("A")).await;
    fixture.publish(&placed("B", "ANN", 101)).await;
    fixture.publish(&reserved("B")).await;
    let declined = fixture.received("payment.event.declined.B").await;
    assert_eq!(body(&declined)["reason"], "limit-exceeded");
    assert_eq!((fixture.provider.count("captured").await, fixture.provider.count("declined").await), (0, 1));
    service.stop().await;
    fixture.is_drained().await;
}

async fn a_call_that_fails_or_is_lost_or_whose_response_is_lost_is_repeated_and_captures_once(engine: Engine) {
    let fixture = Fixture::new(engine).await;
    let service = fixture.start(&["--provider-timeout-milliseconds", "300"]);
    fixture.publish(&account_with("ANN", 1, Some(card("tok_1", "2999-12")), 1000)).await;
    let behaviours = [
        json!({"mode": "fail"}),
        json!({"mode": "drop-before"}),
        json!({"mode": "answer-then-drop"}),
        json!({"mode": "slow", "ms": 600}),
    ];
    for (index, behaviour) in behaviours.into_iter().enumerate() {
        let order = format!("O{index}");
        fixture.provider.behave(behaviour.clone()).await;
        fixture.publish(&placed(&order, "ANN", 60)).await;
        fixture.publish(&reserved(&order)).await;
        eventually("the provider was called twice", || async {
            fixture.payment(&order).await.is_some_and(|row| row.attempts >= 2)
        })
        .await;
        assert_eq!(fixture.payment(&order).await.unwrap().status, Status::Capturing, "{behaviour}");
        fixture.provider.behave(json!({"mode": "ok"})).await;
        fixture.reaches(&order, Status::Captured).await;
        assert_eq!(fixture.provider.count("captured").await, index as u64 + 1);
    }
    fixture.provider.behave(json!({"mode": "answer-then-drop", "on": ["refund"]})).await;
    fixture.publish(&cancelled("O0")).await;
    eventually("the provider was called twice", || async {
        fixture.payment("O0").await.is_some_and(|row| row.status == Status::Refunding && row.attempts >= 4)
    })
    .await;
    fixture.provider.behave(json!({"mode": "ok"})).await;
    fixture.reaches("O0", Status::Refunded).await;
    assert_eq!(fixture.provider.count("refunded").await, 1);
    assert_eq!(exposures(&fixture.database.db).await, [("ANN".to_owned(), 180)]);
    service.stop().await;
    assert_eq!(fixture.published("payment.event.>").await, 5);
    fixture.is_drained().await;
}

async fn a_capture_whose_outcome_is_unknown_for_too_long_is_voided(engine: Engine) {
    let fixture = Fixture::new(engine).await;
    let service = fixture.start(&["--provider-deadline-seconds", "1"]);
    fixture.publish(&account_with("ANN", 1, Some(card("tok_1", "2999-12")), 1000)).await;
    fixture.provider.behave(json!({"mode": "drop-before", "on": ["capture"]})).await;
    fixture.publish(&placed("UNKNOWN", "ANN", 60)).await;
    fixture.publish(&reserved("UNKNOWN")).await;
    let declined = fixture.received("payment.event.declined.UNKNOWN").await;
    assert_eq!(body(&declined)["reason"], "provider-unavailable");
    assert_eq!((fixture.provider.count("captured").await, fixture.provider.count("voided").await), (0, 1));
    assert_eq!(exposures(&fixture.database.db).await, [("ANN".to_owned(), 0)]);

    fixture.provider.behave(json!({"mode": "answer-then-drop", "on": ["capture"]})).await;
    fixture.publish(&placed("BOOKED", "ANN", 60)).await;
    fixture.publish(&reserved("BOOKED")).await;
    let captured = fixture.received("payment.event.captured.BOOKED").await;
    assert_eq!(body(&captured)["reference"], "cap_00000002");
    assert_eq!((fixture.provider.count("captured").await, fixture.provider.count("refunded").await), (1, 0));
    service.stop().await;
    fixture.is_drained().await;
}

async fn a_payment_without_an_account_is_declined_after_a_time_limit(engine: Engine) {
    let fixture = Fixture::new(engine).await;
    let service = fixture.start(&["--account-wait-seconds", "3"]);
    for order in ["A", "B"] {
        fixture.publish(&placed(order, if order == "A" { "ANN" } else { "BOB" }, 60)).await;
        fixture.publish(&reserved(order)).await;
        fixture.reaches(order, Status::AwaitingAccount).await;
    }
    fixture.publish(&account_with("ANN", 1, Some(card("tok_1", "2999-12")), 100)).await;
    fixture.reaches("A", Status::Captured).await;
    let declined = fixture.received("payment.event.declined.B").await;
    assert_eq!(body(&declined), json!({"orderId": "B", "customerId": "BOB", "reason": "no-account"}));
    fixture.publish(&account("BOB", 1, 100)).await;
    service.stop().await;
    assert_eq!(fixture.published("payment.event.>").await, 2);
    fixture.is_drained().await;
}

async fn due_times_written_by_a_clock_that_was_ahead_do_not_delay_a_payment(engine: Engine) {
    let fixture = Fixture::new(engine).await;
    let options = ["--provider-deadline-seconds", "2", "--account-wait-seconds", "2"];
    let service = fixture.start(&options);
    fixture.publish(&account_with("ANN", 1, Some(card("tok_1", "2999-12")), 1000)).await;
    fixture.provider.behave(json!({"mode": "fail"})).await;
    for (order, customer, status) in [("A", "ANN", Status::Capturing), ("B", "BOB", Status::AwaitingAccount)] {
        fixture.publish(&placed(order, customer, 60)).await;
        fixture.publish(&reserved(order)).await;
        fixture.reaches(order, status).await;
    }
    service.stop().await;
    // As if the rows had been written an hour later.
    let later = "UPDATE payments SET due_since = due_since + 3600000, next_attempt_at = next_attempt_at + 3600000, due_at = due_at + 3600000";
    fixture.database.db.execute_unprepared(later).await.unwrap();
    let service = fixture.start(&options);
    fixture.received("payment.event.declined.B").await;
    fixture.provider.behave(json!({"mode": "fail", "on": ["capture"]})).await;
    fixture.received("payment.event.declined.A").await;
    // A clock that is set back while the service runs.
    fixture.provider.behave(json!({"mode": "drop-before"})).await;
    fixture.publish(&placed("C", "ANN", 60)).await;
    fixture.publish(&reserved("C")).await;
    fixture.reaches("C", Status::Capturing).await;
    fixture.database.db.execute_unprepared(later).await.unwrap();
    fixture.provider.behave(json!({"mode": "ok"})).await;
    fixture.received("payment.event.captured.C").await;
    service.stop().await;
    fixture.is_drained().await;
}

async fn two_instances_capture_each_payment_once(engine: Engine) {
    let fixture = Fixture::new(engine).await;
    let services = [fixture.start(&[]), fixture.start(&[])];
    let rates = json!({"mode": "random", "seed": 1, "fail": 0.1, "answerThenDrop": 0.2, "dropBefore": 0.1, "slow": 0.1, "ms": 50});
    fixture.provider.behave(rates).await;
    for number in 0..40 {
        let customer = ["ANN", "BOB"][number % 2];
        if number < 2 {
            fixture.publish(&account_with(customer, 1, Some(card("tok_1", "2999-12")), 150)).await;
        }
        fixture.publish(&placed(&format!("O{number}"), customer, 10)).await;
        fixture.publish(&reserved(&format!("O{number}"))).await;
    }
    eventually("all are final", || async { fixture.published("payment.event.>").await == 40 }).await;
    assert_eq!(fixture.published("payment.event.captured.>").await, 30);
    assert_eq!(fixture.provider.count("captured").await, 30);
    assert_eq!(exposures(&fixture.database.db).await, [("ANN".to_owned(), 150), ("BOB".to_owned(), 150)]);
    for service in services {
        service.stop().await;
    }
    fixture.is_drained().await;
}
