//! Whether everything is consistent, as far as that can be told without any service.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Shop};

fn holds(board: &Value) -> Vec<(&str, &Value)> {
    let checks = board["checks"].as_array().unwrap().iter();
    checks.map(|check| (check["name"].as_str().unwrap(), &check["holds"])).collect()
}

#[tokio::test]
async fn what_cannot_be_told_is_null_and_nothing_is_called_broken_for_it() {
    let mut shop = Shop::start().await;
    let board = Answer::of(shop.get("/invariants")).await;
    assert_eq!(board.status, 200, "{board:?}");
    let expected = [
        ("stock-conserved", &Value::Null),
        ("orders-reserved", &Value::Null),
        ("money-conserved", &Value::Null),
        ("provider-ledger", &Value::Null),
        ("orders-end", &Value::Null),
        ("handled-once", &Value::Null),
        ("outboxes", &Value::Null),
        ("consumers", &json!(true)),
        ("dead-letters", &json!(true)),
    ];
    assert_eq!(holds(&board.body), expected, "{board:?}");
    let stock = &board.body["checks"][0];
    assert_eq!(stock["detail"], "cannot be told: inventory-service does not run");
    let again = Answer::of(shop.get("/invariants")).await;
    assert_eq!(again.body["at"], board.body["at"], "it is fresh for a second");

    shop.nats.kill().unwrap();
    let (start, mut board) = (Instant::now(), again.body);
    while holds(&board).iter().any(|(_, holds)| !holds.is_null()) {
        assert!(start.elapsed() < Duration::from_secs(30), "{board:#}");
        board = Answer::of(shop.get("/invariants")).await.body;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
