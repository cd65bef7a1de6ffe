//! The endpoints that fill and empty the stock.

use inventory_service::automation::{self, CATALOGUE};
use poem::Route;
use poem::http::StatusCode;
use poem::test::TestClient;
use serde_json::{Value, json};

use crate::database::{Engine, TestDatabase, begin_with, envelope, handle, whole};
use crate::given::{available, placed, product, product_id};
use crate::on_both_databases;

on_both_databases!(
    seeding_creates_missing_products_and_leaves_the_others_unchanged,
    deleting_all_removes_products_reservations_and_backorder_lines,
    an_invalid_catalogue_is_refused_with_a_problem_and_creates_nothing,
    ready_succeeds_if_the_endpoints_are_enabled,
    all_endpoints_respond_404_unless_enabled,
);

fn client(database: &TestDatabase, enabled: bool) -> TestClient<Route> {
    TestClient::new(automation::routes(&database.db, enabled))
}

async fn json_of(response: poem::test::TestResponse) -> Value {
    response.json().await.value().deserialize()
}

async fn seeding_creates_missing_products_and_leaves_the_others_unchanged(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    begin_with(&database.db, &available(&[("PRODUCT_002", 3)])).await;
    let client = client(&database, true);
    let response = client.post("/automation-testing/seed").send().await;
    response.assert_status_is_ok();
    assert_eq!(
        json_of(response).await,
        json!({"created": ["PRODUCT_001", "PRODUCT_003"], "existing": ["PRODUCT_002"]})
    );
    let response = client.post("/automation-testing/seed").body(CATALOGUE).send().await;
    let existing = json!({"created": [], "existing": ["PRODUCT_001", "PRODUCT_002", "PRODUCT_003"]});
    assert_eq!(json_of(response).await, existing);
    let stock = whole(&database.db).await;
    assert_eq!(stock.products[&product_id("PRODUCT_001")], product(10));
    assert_eq!(stock.products[&product_id("PRODUCT_002")], product(3));
}

async fn deleting_all_removes_products_reservations_and_backorder_lines(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    begin_with(&database.db, &available(&[("CUP", 3)])).await;
    let batch = [envelope(&placed("A", &[("CUP", 3)])), envelope(&placed("B", &[("CUP", 3)]))];
    handle(&database.db, &batch).await.unwrap();
    let response = client(&database, true).delete("/automation-testing/all").send().await;
    response.assert_status(StatusCode::NO_CONTENT);
    assert_eq!(whole(&database.db).await, available(&[]));
}

async fn an_invalid_catalogue_is_refused_with_a_problem_and_creates_nothing(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let client = client(&database, true);
    for body in [
        json!({}),
        json!([{"productId": "A B", "available": 1}]),
        json!([{"productId": "A", "available": -1}]),
        json!([{"productId": "A", "available": 1_000_000_000_001_i64}]),
        json!([{"productId": "A", "available": 1}, {"productId": "A", "available": 1}]),
    ] {
        let response = client.post("/automation-testing/seed").body(body.to_string()).send().await;
        response.assert_status(StatusCode::BAD_REQUEST);
        response.assert_content_type("application/problem+json");
        assert_eq!(json_of(response).await["status"], 400, "{body}");
    }
    assert_eq!(whole(&database.db).await, available(&[]));
}

async fn ready_succeeds_if_the_endpoints_are_enabled(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let response = client(&database, true).get("/automation-testing/ready").send().await;
    response.assert_status_is_ok();
    assert_eq!(json_of(response).await["ready"], true);
}

async fn all_endpoints_respond_404_unless_enabled(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let client = client(&database, false);
    for request in [
        client.post("/automation-testing/seed"),
        client.delete("/automation-testing/all"),
        client.get("/automation-testing/ready"),
    ] {
        let response = request.send().await;
        response.assert_status(StatusCode::NOT_FOUND);
        response.assert_content_type("application/problem+json");
        assert_eq!(json_of(response).await["title"], "Not Found");
    }
    assert_eq!(whole(&database.db).await, available(&[]));
}
