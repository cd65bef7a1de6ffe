//! Queries on stock.

use bytes::Bytes;
use choreography::envelope::{from_unix_millis, unix_millis};
use choreography::query::{Query, QueryError};
use choreography::time_travel::Point;
use contracts::query::ProductView;
use inventory_service::entity::product::Entity;
use inventory_service::entity::stock_history;
use inventory_service::queries::{product, products};
use inventory_service::reconciliation::reconciliation;
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, EntityTrait};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::database::{Engine, TestDatabase, begin_with, envelope, handle};
use crate::given::{available, cancelled, placed, restock};
use crate::on_both_databases;

on_both_databases!(
    the_reply_has_the_three_counts_of_a_product,
    stock_as_it_was_equals_what_was_read_then,
    the_history_of_stock_is_kept_for_thirty_days,
    a_product_that_does_not_exist_is_not_found,
    the_list_of_products_is_read_page_by_page_in_the_order_of_ids,
    an_invalid_list_query_is_refused_and_an_empty_one_has_the_default_limit,
    wrong_stock_is_counted_beyond_the_products_that_are_listed,
    the_reconciliation_has_the_reserved_units_of_the_requested_orders,
);

fn about(key: &str) -> Query {
    Query { key: key.to_owned(), body: Bytes::new() }
}

fn list(body: Value) -> Query {
    Query { key: "products".to_owned(), body: body.to_string().into() }
}

async fn the_reply_has_the_three_counts_of_a_product(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    begin_with(&database.db, &available(&[("CUP", 10)])).await;
    let batch = [envelope(&placed("A", &[("CUP", 3)])), envelope(&placed("B", &[("CUP", 8)]))];
    handle(&database.db, &batch).await.unwrap();
    let reply = product(database.db.clone(), about("CUP")).await.unwrap();
    let expected = json!({"productId": "CUP", "available": 7, "reserved": 3, "backordered": 8,
        "updatedAt": reply.updated_at});
    assert_eq!(serde_json::to_value(reply).unwrap(), expected);
}

/// The query for a product at a time, in milliseconds since 1970.
fn at(key: &str, time: i64) -> Query {
    let body = serde_json::to_vec(&Point::At(from_unix_millis(time))).unwrap();
    Query { key: key.to_owned(), body: body.into() }
}

async fn stock_as_it_was_equals_what_was_read_then(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let db = || database.db.clone();
    begin_with(&database.db, &available(&[("CUP", 5), ("TEA", 9)])).await;
    let mut read: Vec<(i64, &str, ProductView)> = Vec::new();
    // The third changes only one of the two products; the last changes none.
    let batches = [
        vec![placed("A", &[("CUP", 3), ("TEA", 1)]), placed("B", &[("CUP", 4)])],
        vec![cancelled("A"), restock("TEA", 2)],
        vec![restock("CUP", 7)],
        vec![cancelled("NONE")],
    ];
    for batch in &batches {
        let envelopes: Vec<_> = batch.iter().map(envelope).collect();
        handle(&database.db, &envelopes).await.unwrap();
        for id in ["CUP", "TEA"] {
            let row = Entity::find_by_id(id).one(&database.db).await.unwrap().unwrap();
            read.push((row.changed_at, id, product(db(), about(id)).await.unwrap()));
        }
    }
    assert_eq!(read.iter().map(|(_, _, view)| view.available).collect::<Vec<_>>(), [2, 8, 1, 11, 8, 11, 8, 11]);
    for (changed_at, id, view) in &read {
        assert_eq!(&product(db(), at(id, *changed_at)).await.unwrap(), view);
        let before = read.iter().rfind(|(time, other, _)| other == id && time < changed_at);
        match before {
            Some((_, _, before)) => assert_eq!(&product(db(), at(id, changed_at - 1)).await.unwrap(), before),
            None => {
                let absent = product(db(), at(id, changed_at - 1)).await;
                assert!(matches!(absent, Err(QueryError::NotFound(_))), "{absent:?}");
            }
        }
    }
    let version = Query { key: "CUP".to_owned(), body: r#"{"version": 1}"#.into() };
    assert!(matches!(product(db(), version).await, Err(QueryError::Invalid(_))));
}

async fn the_history_of_stock_is_kept_for_thirty_days(engine: Engine) {
    const DAY: i64 = 24 * 3600 * 1000;
    let database = TestDatabase::new(engine).await;
    let db = || database.db.clone();
    begin_with(&database.db, &available(&[("CUP", 5), ("TEA", 9)])).await;
    let now = unix_millis(OffsetDateTime::now_utc());
    for (id, days, units) in [("CUP", 60, 1), ("CUP", 40, 2), ("CUP", 31, 3), ("CUP", 29, 4), ("TEA", 50, 7)] {
        let [changed_at, available] = [now - days * DAY, units].map(Set);
        let (reserved, backordered) = (Set(0), Set(0));
        let row = stock_history::ActiveModel {
            product_id: Set(id.to_owned()),
            changed_at,
            available,
            reserved,
            backordered,
        };
        row.insert(&database.db).await.unwrap();
    }
    handle(&database.db, &[envelope(&restock("CUP", 1)), envelope(&restock("TEA", 1))]).await.unwrap();
    let of = async |id: &str, days: i64| product(db(), at(id, now - days * DAY)).await.map(|view| view.available);
    let kept = [of("CUP", 30).await, of("CUP", 28).await, of("CUP", -1).await, of("TEA", 30).await];
    assert_eq!(kept.map(Result::unwrap), [3, 4, 6, 7]);
    let expired = of("CUP", 35).await;
    assert!(matches!(&expired, Err(QueryError::NotFound(why)) if why.contains("reach back")), "{expired:?}");
}

async fn wrong_stock_is_counted_beyond_the_products_that_are_listed(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    // Units without a receipt.
    let ids: Vec<String> = (10..55).map(|n| format!("P{n}")).collect();
    let products: Vec<(&str, u64)> = ids.iter().map(|id| (id.as_str(), 1)).collect();
    begin_with(&database.db, &available(&products)).await;
    let found = reconciliation(database.db.clone(), list(json!({}))).await.unwrap();
    assert_eq!((found.products, found.wrong_total, found.wrong.len()), (45, 45, 20));
    assert_eq!((&*found.wrong[0].product_id, found.wrong[0].available, found.wrong[0].received), ("P10", 1, 0));
}

async fn the_reconciliation_has_the_reserved_units_of_the_requested_orders(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    begin_with(&database.db, &available(&[("CUP", 10)])).await;
    let orders = [("A", 3), ("B", 4), ("WAITS", 8)];
    let batch = orders.map(|(id, quantity)| envelope(&placed(id, &[("CUP", quantity)])));
    handle(&database.db, &batch).await.unwrap();
    let request = list(json!({"orderIds": ["B", "WAITS", "NONE"]}));
    let found = reconciliation(database.db.clone(), request).await.unwrap().allocations.unwrap();
    let expected = json!({"reserved": 2, "compared": [
        {"orderId": "B", "lines": [{"productId": "CUP", "quantity": 4}]}
    ]});
    assert_eq!(serde_json::to_value(found).unwrap(), expected);
    let too_many = list(json!({"orderIds": vec!["A"; 401]}));
    assert!(matches!(reconciliation(database.db.clone(), too_many).await, Err(QueryError::Invalid(_))));
}

async fn a_product_that_does_not_exist_is_not_found(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let reply = product(database.db.clone(), about("CUP")).await;
    assert!(matches!(reply, Err(QueryError::NotFound(what)) if what == "there is no product CUP"));
    assert!(matches!(product(database.db.clone(), about("C*P")).await, Err(QueryError::Invalid(_))));
}

async fn the_list_of_products_is_read_page_by_page_in_the_order_of_ids(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    begin_with(&database.db, &available(&[("b", 1), ("A", 2), ("_", 3), ("a-1", 4), ("a_1", 5)])).await;
    let mut ids = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = products(database.db.clone(), list(json!({"after": after, "limit": 2}))).await.unwrap();
        assert!(page.items.len() <= 2);
        ids.extend(page.items.into_iter().map(|item| item.product_id.to_string()));
        match page.next {
            Some(next) => after = next.into(),
            None => break,
        }
    }
    assert_eq!(ids, ["A", "_", "a-1", "a_1", "b"]);
}

async fn an_invalid_list_query_is_refused_and_an_empty_one_has_the_default_limit(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    for body in [json!({"limit": 0}), json!({"limit": 201}), json!({"after": "C*P"}), json!([1])] {
        let reply = products(database.db.clone(), list(body.clone())).await;
        assert!(matches!(reply, Err(QueryError::Invalid(_))), "{body}");
    }
    let page = products(database.db.clone(), about("products")).await.unwrap();
    assert_eq!(serde_json::to_value(page).unwrap(), json!({"items": [], "next": null}));
}
