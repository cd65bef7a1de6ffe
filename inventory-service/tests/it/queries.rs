//! What can be asked about stock.

use inventory_service::queries::{ListProducts, ProductStock, product_page, product_stock};
use messaging::query::QueryError;

use crate::database::{TestDatabase, begin_with, envelope, handle};
use crate::given::{placed, product_id, shelf};

fn stock_of(id: &str, [available, reserved, awaiting]: [i64; 3]) -> ProductStock {
    ProductStock { product_id: id.to_owned(), available, reserved, awaiting }
}

#[tokio::test]
async fn a_product_answers_with_its_three_counts() {
    let database = TestDatabase::sqlite().await;
    begin_with(&database.db, &shelf(&[("CUP", 10)])).await;
    let batch = [envelope(&placed("A", &[("CUP", 3)])), envelope(&placed("B", &[("CUP", 8)]))];
    handle(&database.db, &batch).await.unwrap();
    let answer = product_stock(&database.db, "CUP").await.unwrap();
    assert_eq!(answer, stock_of("CUP", [7, 3, 8]));
    let json = serde_json::to_value(answer).unwrap();
    assert_eq!(json, serde_json::json!({"productId": "CUP", "available": 7, "reserved": 3, "awaiting": 8}));
}

#[tokio::test]
async fn a_product_that_does_not_exist_is_not_found() {
    let database = TestDatabase::sqlite().await;
    let answer = product_stock(&database.db, "CUP").await;
    assert!(matches!(answer, Err(QueryError::NotFound(what)) if what == "there is no product CUP"));
    assert!(matches!(product_stock(&database.db, "C*P").await, Err(QueryError::Invalid(_))));
}

#[tokio::test]
async fn the_list_of_products_is_read_page_by_page_in_the_order_of_ids() {
    let database = TestDatabase::sqlite().await;
    begin_with(&database.db, &shelf(&[("b", 1), ("A", 2), ("_", 3), ("a-1", 4), ("a_1", 5)])).await;
    let mut ids = Vec::new();
    let mut list = ListProducts { after: None, limit: Some(2) };
    loop {
        let page = product_page(&database.db, list.clone()).await.unwrap();
        assert!(page.items.len() <= 2);
        ids.extend(page.items.into_iter().map(|item| item.product_id));
        match page.next {
            Some(next) => list.after = Some(product_id(&next)),
            None => break,
        }
    }
    assert_eq!(ids, ["A", "_", "a-1", "a_1", "b"]);
}

#[tokio::test]
async fn a_page_has_1_to_1000_products() {
    let database = TestDatabase::sqlite().await;
    for limit in [0, 1001] {
        let answer = product_page(&database.db, ListProducts { after: None, limit: Some(limit) }).await;
        assert!(matches!(answer, Err(QueryError::Invalid(_))), "{limit}");
    }
    let page = product_page(&database.db, ListProducts::default()).await.unwrap();
    assert_eq!(serde_json::to_value(page).unwrap(), serde_json::json!({"items": [], "next": null}));
}
