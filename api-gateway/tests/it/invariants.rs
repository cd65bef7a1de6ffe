//! The consistency check, as far as it works without services.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{HttpResponse, Shop};

fn statuses(board: &Value) -> Vec<(&str, &Value)> {
    let checks = board["checks"].as_array().unwrap().iter();
    checks.map(|check| (check["name"].as_str().unwrap(), &check["status"])).collect()
}

#[tokio::test]
async fn a_check_that_needs_a_service_that_is_down_is_unknown_and_does_not_fail() {
    let mut shop = Shop::start().await;
    let board = HttpResponse::of(shop.get("/invariants")).await;
    assert_eq!(board.status, 200, "{board:?}");
    let expected = [
        ("stock-conserved", &json!("unknown")),
        ("orders-reserved", &json!("unknown")),
        ("money-conserved", &json!("unknown")),
        ("provider-ledger", &json!("unknown")),
        ("orders-end", &json!("unknown")),
        ("handled-once", &json!("unknown")),
        ("outboxes", &json!("unknown")),
        ("consumers", &json!("pass")),
        ("dead-letters", &json!("pass")),
    ];
    assert_eq!(statuses(&board.body), expected, "{board:?}");
    let stock = &board.body["checks"][0];
    assert_eq!(stock["detail"], "unknown: inventory-service does not run");
    let again = HttpResponse::of(shop.get("/invariants")).await;
    assert_eq!(again.body["checkedAt"], board.body["checkedAt"], "it is cached for a second");

    shop.nats.kill().unwrap();
    let (start, mut board) = (Instant::now(), again.body);
    while statuses(&board).iter().any(|(_, status)| *status != "unknown") {
        assert!(start.elapsed() < Duration::from_secs(30), "{board:#}");
        board = HttpResponse::of(shop.get("/invariants")).await.body;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
