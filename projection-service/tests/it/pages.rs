//! Pages of found orders: any cursor, and orders of any size.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use choreography::database;
use choreography::migration::LibraryAndProjections;
use choreography::projection::testing::LocalProjection;
use choreography::query::{Query, QueryError};
use choreography::testing::sqlite_in_memory;
use choreography_test::{ProjectionSpec, TestPostgres};
use contracts::query::SearchOrders;
use projection_service::queries::search;
use projection_service::search::OrderSearch;
use projection_service::search::orders::{Entity, Model};
use proptest::prelude::*;
use sea_orm::{DatabaseConnection, EntityTrait, IntoActiveModel};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::placed;

/// The times at which the orders of the test were placed.
const PLACED_AT: RangeInclusive<i64> = -1..=1;

/// Any text, often one that resembles a cursor.
fn cursor() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[-+]?[0-9]{0,20}\\.?[A-Za-z0-9_.-]{0,66}",
        (prop_oneof![any::<i64>(), -2_i64..3], "[A-Za-z0-9_-]{1,64}").prop_map(|(at, id)| format!("{at}.{id}")),
    ]
}

fn order(placed_at: i64) -> Model {
    Model {
        order_id: format!("ORDER{placed_at}"),
        customer_id: "CUSTOMER_001".to_owned(),
        status: "placed".to_owned(),
        waits_for: None,
        currency: "EUR".to_owned(),
        total_price: 0,
        items: "[]".to_owned(),
        reason: None,
        version: 1,
        placed_at,
        updated_at: placed_at,
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn any_cursor_has_a_page_or_is_refused(runtime: &Runtime, db: DatabaseConnection) {
    let projection = runtime.block_on(LocalProjection::new(OrderSearch, db)).unwrap();
    let orders = PLACED_AT.map(|placed_at| order(placed_at).into_active_model());
    runtime.block_on(Entity::insert_many(orders).exec(projection.db())).unwrap();
    proptest!(|(cursor in cursor())| {
        let query = Query { key: String::new(), body: json!({ "cursor": cursor }).to_string().into() };
        match runtime.block_on(search(projection.db().clone(), query)) {
            Ok(page) => {
                let placed_at: i64 = cursor.split_once('.').unwrap().0.parse().unwrap();
                let min = PLACED_AT.filter(|at| *at < placed_at).count();
                let max = PLACED_AT.filter(|at| *at <= placed_at).count();
                prop_assert!((min..=max).contains(&page.items.len()), "{} of {cursor:?}", page.items.len());
            }
            Err(QueryError::Invalid(why)) => prop_assert!(why.starts_with("cursor must be"), "{}", why),
            Err(other) => prop_assert!(false, "{cursor:?}: {other:?}"),
        }
    });
}

#[test]
fn any_cursor_has_a_page_or_is_refused_on_sqlite() {
    let runtime = runtime();
    let db = runtime.block_on(sqlite_in_memory::<LibraryAndProjections>()).unwrap();
    any_cursor_has_a_page_or_is_refused(&runtime, db);
}

#[test]
fn any_cursor_has_a_page_or_is_refused_on_postgres() {
    let runtime = runtime();
    let db = runtime.block_on(async {
        let url = TestPostgres::shared().await.unwrap().create_database().await.unwrap();
        database::open::<LibraryAndProjections>(&url).await.unwrap()
    });
    any_cursor_has_a_page_or_is_refused(&runtime, db);
}

#[tokio::test]
async fn large_orders_come_in_pages_that_fit_into_a_message() {
    let mut spec = ProjectionSpec::new(OrderSearch).await.unwrap();
    let products: Vec<String> = (0..100).map(|n| format!("{n:0>64}")).collect();
    let lines: Vec<_> = products.iter().map(|product| (product.as_str(), 1_000_000, 1_000_000)).collect();
    spec.given((0..200).map(|n| placed(&format!("ORDER_{n}"), &lines))).await;
    let (mut seen, mut cursor) = (BTreeSet::new(), None);
    loop {
        let body =
            serde_json::to_vec(&SearchOrders { limit: Some(200), cursor, ..SearchOrders::default() }).unwrap();
        let page = search(spec.db().clone(), Query { key: String::new(), body: body.into() }).await.unwrap();
        assert!(serde_json::to_vec(&page).unwrap().len() < 1_000_000);
        seen.extend(page.items.into_iter().map(|found| found.order.order_id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 200);
}
